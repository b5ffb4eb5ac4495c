import { Button, CloseButton, Tabs } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import type { Attempt } from '../api/client';
import { answer, ApiProblem } from '../api/client';
import type { Component, Workflow } from '../model/document';
import { fetchOf } from '../sign-in/guard';
import { bytes, duration, instant, shortId } from '../ui/format';
import { Icon } from '../ui/Icon';
import { JsonView } from '../ui/JsonView';
import { Failed, Loading } from '../ui/States';
import { Status } from '../ui/Status';
import { Countdown } from '../ui/Time';
import type { Task } from './attempts';

/** An output that is too large for the list of attempts. */
function Large({ href, size }: { href: string; size: number }) {
  const [wanted, setWanted] = useState(size <= 262_144);
  const payload = useQuery({
    queryKey: ['payload', href],
    queryFn: ({ signal }) =>
      answer(
        fetchOf(href, signal).then(async (response) => ({
          response,
          ...(response.ok ? { data: { text: await response.text() } } : { error: (await response.json()) as unknown }),
        })),
      ),
    enabled: wanted,
    staleTime: Infinity,
  });
  if (!wanted) {
    return (
      <p>
        {bytes(size)}.{' '}
        <button type="button" className="as-link" onClick={() => setWanted(true)}>
          Show it
        </button>{' '}
        or <a href={href}>download it</a>.
      </p>
    );
  }
  if (payload.isPending) return <Loading rows={3} />;
  if (payload.isError) return <Failed error={payload.error instanceof ApiProblem ? payload.error : payload.error} />;
  return <JsonView value={payload.data.text} label="output" />;
}

/** What an attempt gave. */
export function Output({ attempt }: { attempt: Attempt | undefined }) {
  if (attempt?.output_reference) return <Large href={attempt.output_reference.href} size={attempt.output_reference.size} />;
  if (!attempt || attempt.output === undefined) return <p className="dim">Nothing yet.</p>;
  return <JsonView value={attempt.output} label="output" />;
}

/** How an attempt went. */
export function AttemptView({ attempt }: { attempt: Attempt }) {
  return (
    <div className="attempt">
      <div className="attempt-head">
        <Status status={attempt.status} />
        <span>{attempt.attempt === 0 ? 'decided by the engine' : `attempt ${attempt.attempt}`}</span>
        {attempt.dispatches > 1 && <span className="tag quiet">sent {attempt.dispatches} times</span>}
        <span className="spacer" />
        {attempt.duration_ms !== null && attempt.duration_ms !== undefined && <span className="num">{duration(attempt.duration_ms)}</span>}
      </div>
      {attempt.failure && (
        <div className="attempt-failure">
          <span className="tag bad">{attempt.failure.class}</span> {attempt.failure.message}
          {attempt.failure.details !== undefined && attempt.failure.details !== null && (
            <JsonView value={attempt.failure.details} label="details of the failure" max={160} />
          )}
        </div>
      )}
      <dl className="facts">
        {attempt.reason && (
          <>
            <dt>Why</dt>
            <dd>{attempt.reason.replaceAll('_', ' ')}</dd>
          </>
        )}
        {attempt.until && (
          <>
            <dt>Goes on</dt>
            <dd>
              <Countdown until={attempt.until} />
            </dd>
          </>
        )}
        {attempt.dispatched_at && (
          <>
            <dt>Ordered</dt>
            <dd>{instant(attempt.dispatched_at)}</dd>
          </>
        )}
        {attempt.started_at && (
          <>
            <dt>Began</dt>
            <dd>{instant(attempt.started_at)}</dd>
          </>
        )}
        {attempt.finished_at && (
          <>
            <dt>Ended</dt>
            <dd>{instant(attempt.finished_at)}</dd>
          </>
        )}
        {attempt.worker && (
          <>
            <dt>Worker</dt>
            <dd>
              <code title={attempt.worker}>…{shortId(attempt.worker)}</code>
            </dd>
          </>
        )}
        {attempt.ports && attempt.ports.length > 0 && (
          <>
            <dt>Ports</dt>
            <dd>{attempt.ports.join(', ')}</dd>
          </>
        )}
      </dl>
    </div>
  );
}

/** Names of components that a text of a config reads. */
function reads(config: unknown): Set<string> {
  const text = JSON.stringify(config ?? null);
  return new Set([...text.matchAll(/\bcomponents\s*\.\s*([a-z][a-z0-9_]*)/g)].map((found) => found[1] ?? ''));
}

/** Everything about one component of an execution. */
export function Detail({
  component,
  workflow,
  tasks,
  all,
  state,
  onRetry,
  onClose,
}: {
  component: Component;
  workflow: Workflow;
  /** Its own tasks: several inside loops. */
  tasks: Task[];
  all: Task[];
  /** Where it stands, when that is known. */
  state: string | undefined;
  /** Present when the execution has ended and this component can be named. */
  onRetry?: () => void;
  onClose: () => void;
}) {
  const [round, setRound] = useState(0);
  const failed = tasks.findIndex((task) => task.last.status === 'failed');
  const task = tasks[round] ?? tasks[Math.max(0, failed)];
  const sources = [...new Set([...component.needs.map((each) => each.id), ...reads([component.config, component.fields['when']])])].filter((id) =>
    workflow.components.has(id),
  );
  return (
    <aside className="detail" aria-label={`Component ${component.id}`}>
      <div className="detail-head">
        <div>
          <h2>{component.title ?? component.id}</h2>
          <p className="dim">
            <code>{component.id}</code> · {component.type}
          </p>
          {state !== undefined && <Status status={state} />}
        </div>
        <span className="spacer" />
        <CloseButton size="sm" aria-label="Close the details" onClick={onClose} />
      </div>
      {onRetry && (
        <div className="detail-deeds">
          <Button size="compact-xs" variant="default" leftSection={<Icon name="retry" size={12} />} onClick={onRetry}>
            Again from here
          </Button>
        </div>
      )}
      {tasks.length > 1 && (
        <label className="detail-round">
          <span className="dim">Round</span>
          <select value={tasks.indexOf(task ?? tasks[0]!)} onChange={(event) => setRound(Number(event.currentTarget.value))}>
            {tasks.map((each, index) => (
              <option key={each.key} value={index}>
                {each.key}: {each.last.status}
              </option>
            ))}
          </select>
          <span className="dim num">{tasks.length}</span>
        </label>
      )}
      <Tabs defaultValue="attempts" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="attempts">Attempts</Tabs.Tab>
          <Tabs.Tab value="input">Input</Tabs.Tab>
          <Tabs.Tab value="output">Output</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="attempts" className="detail-body">
          {task ? (
            [...task.attempts].reverse().map((attempt, index) => <AttemptView key={`${attempt.attempt}-${index}`} attempt={attempt} />)
          ) : (
            <p className="dim">It has not begun.</p>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="input" className="detail-body">
          <h3>As it is written</h3>
          {component.config === undefined ? <p className="dim">It has no settings.</p> : <JsonView value={component.config} label="settings" />}
          {sources.map((id) => {
            const last = all.filter((each) => each.component === id).at(-1)?.last;
            return (
              <div key={id}>
                <h3>
                  What <code>{id}</code> gave
                </h3>
                <Output attempt={last} />
              </div>
            );
          })}
        </Tabs.Panel>
        <Tabs.Panel value="output" className="detail-body">
          <Output attempt={task?.last} />
        </Tabs.Panel>
      </Tabs>
    </aside>
  );
}
