import { Button, Skeleton } from '@mantine/core';
import { Component, type ReactNode } from 'react';

import { ApiProblem } from '../api/client';
import { Icon, type IconName } from './Icon';

/** What is drawn while there is nothing to show yet. */
export function Loading({ rows = 8, label = 'Loading' }: { rows?: number; label?: string }) {
  return (
    <div className="loading" role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, index) => (
        <Skeleton key={index} height={14} width={`${88 - ((index * 17) % 41)}%`} radius="sm" />
      ))}
    </div>
  );
}

/** What is drawn when there is nothing, with the next thing to do. */
export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} size={28} />
      <p className="empty-title">{title}</p>
      {children && <div className="empty-next">{children}</div>}
    </div>
  );
}

/** What went wrong, the request's id, and a way to try again. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = error instanceof ApiProblem ? error : undefined;
  return (
    <div className="empty failed" role="alert">
      <Icon name="alert" size={28} />
      <p className="empty-title">{error instanceof Error ? error.message : 'Something went wrong.'}</p>
      <div className="empty-next">
        {problem && (
          <p className="dim">
            <a href={`/docs/errors/${problem.code}`} hidden={problem.status === 0}>
              {problem.code}
            </a>
            {problem.traceId && (
              <>
                {' '}
                · request <code>{problem.traceId}</code>
              </>
            )}
          </p>
        )}
        {retry && (
          <Button variant="default" size="xs" onClick={retry} leftSection={<Icon name="retry" size={14} />}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** The button under a list that has further pages. */
export function More({
  list,
  children,
}: {
  list: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => Promise<unknown> };
  children: ReactNode;
}) {
  if (!list.hasNextPage) return null;
  return (
    <div className="more">
      <Button variant="default" size="xs" loading={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
        {children}
      </Button>
    </div>
  );
}

const RELOADED = 'apg.reloaded-at';

/** Whether a part of the pages is missing on the server, as after a new release. */
function isStale(error: unknown): boolean {
  return error instanceof Error && /dynamically imported module|module script failed/i.test(error.message);
}

/** Keeps a fault in one part of the pages from taking the others along. A part that a new release removed reloads the page, once. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state: { error: unknown } = { error: undefined };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override componentDidCatch(error: unknown) {
    if (!isStale(error)) return;
    const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
    if (Date.now() - last < 30_000) return;
    sessionStorage.setItem(RELOADED, String(Date.now()));
    location.reload();
  }

  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <Failed error={this.state.error} retry={() => this.setState({ error: undefined })} />;
  }
}
