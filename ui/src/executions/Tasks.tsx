import { useVirtualizer } from '@tanstack/react-virtual';
import { useMemo, useRef } from 'react';

import type { Attempt } from '../api/client';
import { duration, instant, shortId } from '../ui/format';
import { Empty } from '../ui/States';
import { Status } from '../ui/Status';
import { Countdown } from '../ui/Time';
import { isNearEnd, type Task } from './attempts';

const ROW = 28;

function queued(attempt: Attempt): string {
  if (!attempt.dispatched_at || !attempt.started_at) return '–';
  return duration(Date.parse(attempt.started_at) - Date.parse(attempt.dispatched_at));
}

/** Every attempt; those that failed first. */
export function Tasks({
  tasks,
  hasMore,
  selected,
  onSelect,
  onMore,
}: {
  tasks: Task[];
  /** These are not all. */
  hasMore: boolean;
  selected: string | undefined;
  onSelect: (component: string) => void;
  /** Somebody has come near the end of what is shown. */
  onMore: () => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => {
    const all = tasks.flatMap((task) => task.attempts.map((attempt) => ({ key: task.key, attempt })));
    const failed = (status: string) => (status === 'failed' || status === 'lost' ? 0 : 1);
    return all.map((row, at) => ({ ...row, at })).sort((a, b) => failed(a.attempt.status) - failed(b.attempt.status) || a.at - b.at);
  }, [tasks]);
  const list = useVirtualizer({ count: rows.length, getScrollElement: () => box.current, estimateSize: () => ROW, overscan: 12 });
  if (rows.length === 0) return <Empty icon="list" title="There are no tasks yet." />;
  return (
    <div className="grid-list" role="table" aria-label="Attempts" aria-rowcount={hasMore ? -1 : rows.length + 1}>
      <div className="grid-row grid-head task-grid" role="row">
        {['Status', 'Task', 'Attempt', 'Queued', 'Worked', 'Worker', 'What came of it'].map((name) => (
          <span key={name} role="columnheader">
            {name}
          </span>
        ))}
      </div>
      <div className="grid-body" ref={box} tabIndex={0} role="rowgroup" {...(hasMore && { onScroll: (event) => isNearEnd(event.currentTarget, ROW) && onMore() })}>
        <div style={{ height: list.getTotalSize(), position: 'relative' }}>
          {list.getVirtualItems().map(({ index, start }) => {
            const row = rows[index];
            if (!row) return null;
            const { attempt } = row;
            return (
              <div
                key={`${row.key}#${attempt.attempt}#${index}`}
                role="row"
                className={`grid-row task-grid${selected === attempt.component ? ' is-selected' : ''}`}
                style={{ height: ROW, transform: `translateY(${start}px)`, position: 'absolute', inset: '0 0 auto 0' }}
                onClick={() => onSelect(attempt.component)}
              >
                <span role="cell">
                  <Status status={attempt.status} />
                </span>
                <span role="cell" className="clip">
                  <button type="button" className="row-link as-text" onClick={() => onSelect(attempt.component)}>
                    {row.key}
                  </button>{' '}
                  <span className="dim">{attempt.type}</span>
                </span>
                <span role="cell" className="num">
                  {attempt.attempt === 0 ? <span className="dim">engine</span> : attempt.attempt}
                </span>
                <span role="cell" className="num">
                  {queued(attempt)}
                </span>
                <span role="cell" className="num" title={attempt.finished_at ? instant(attempt.finished_at) : undefined}>
                  {attempt.duration_ms === null || attempt.duration_ms === undefined ? '–' : duration(attempt.duration_ms)}
                </span>
                <span role="cell">{attempt.worker ? <code className="dim">…{shortId(attempt.worker)}</code> : <span className="dim">–</span>}</span>
                <span role="cell" className="clip">
                  {attempt.failure ? (
                    <>
                      <span className="tag bad">{attempt.failure.class}</span> {attempt.failure.message}
                    </>
                  ) : (
                    <span className="dim">{attempt.reason ?? (attempt.ports?.length ? `port ${attempt.ports.join(', ')}` : '')}</span>
                  )}
                  {attempt.until && (
                    <span className="dim">
                      {' '}
                      again <Countdown until={attempt.until} />
                    </span>
                  )}
                </span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
