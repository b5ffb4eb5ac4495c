import { useMediaQuery } from '@mantine/hooks';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useMemo, useRef } from 'react';

import type { Execution } from '../api/client';
import { duration } from '../ui/format';
import { Empty } from '../ui/States';
import { Status } from '../ui/Status';
import { isFinal, look, type Look } from '../ui/status';
import { useNow } from '../ui/Time';
import { isNearEnd, spans, ticks, type Span, type Task } from './attempts';

const ROW = 26;
/** What the bars mean; those of no task here are left out. */
const LEGEND: { kind: Span['kind']; tone: Look['tone']; word: string }[] = [
  { kind: 'queue', tone: 'quiet', word: 'in the queue' },
  { kind: 'work', tone: 'good', word: 'at work' },
  { kind: 'sent', tone: 'busy', word: 'sent: in the queue or at work' },
  { kind: 'wait', tone: 'wait', word: 'waiting for time or people' },
  { kind: 'moment', tone: 'good', word: 'decided at once' },
];

/** What happened when: a row for each task, waiting in a queue apart from working. */
export function Timeline({
  execution,
  tasks,
  selected,
  at,
  cut,
  onSelect,
  onMore,
}: {
  execution: Execution;
  tasks: Task[];
  selected: string | undefined;
  /** The moment that is shown; undefined is now. */
  at: string | undefined;
  /** How many attempts these are, and how many there are at least; undefined when these are all. */
  cut: { shown: number; least: number } | undefined;
  onSelect: (component: string) => void;
  /** Somebody has come near the end of what is shown. */
  onMore: () => void;
}) {
  const clock = useNow();
  const box = useRef<HTMLDivElement>(null);
  const origin = Date.parse(execution.created_at);
  const end = execution.completed_at ? Date.parse(execution.completed_at) : isFinal(execution.status) ? origin : clock;
  const rows = useMemo(
    () => tasks.map((task) => ({ task, spans: task.attempts.flatMap((attempt) => spans(attempt, origin, end)) })),
    [tasks, origin, end],
  );
  const kinds = useMemo(() => new Set(rows.flatMap((row) => row.spans.map((each) => each.kind))), [rows]);
  const span = Math.max(1, end - origin, ...rows.flatMap((row) => row.spans.map((each) => each.to)));
  const isNarrow = useMediaQuery('(max-width: 900px)', false, { getInitialValueInEffect: false });
  const marks = ticks(span, isNarrow ? 3 : 8);
  const list = useVirtualizer({ count: rows.length, getScrollElement: () => box.current, estimateSize: () => ROW, overscan: 12 });
  const percent = (ms: number) => `${(ms / span) * 100}%`;

  if (rows.length === 0) return <Empty icon="clock" title={isFinal(execution.status) ? 'It ended before anything ran.' : 'Nothing has begun yet.'} />;
  return (
    <div className="timeline">
      <div className="timeline-axis" aria-hidden="true">
        <span className="timeline-name" />
        <span className="timeline-track">
          {marks.map((at) => (
            <span key={at} className="timeline-mark" style={{ left: percent(at) }}>
              {at === 0 ? '0' : duration(at)}
            </span>
          ))}
        </span>
      </div>
      <div className="timeline-rows" ref={box} tabIndex={0} role="list" aria-label="Tasks over time" {...(cut && { onScroll: (event) => isNearEnd(event.currentTarget, ROW) && onMore() })}>
        <div style={{ height: list.getTotalSize(), position: 'relative' }}>
          {list.getVirtualItems().map(({ index, start }) => {
            const row = rows[index];
            if (!row) return null;
            const { task } = row;
            const took = (...kinds: Span['kind'][]) => row.spans.filter((each) => kinds.includes(each.kind)).reduce((sum, each) => sum + each.to - each.from, 0);
            return (
              <div key={task.key} role="listitem" className="timeline-row-box" style={{ height: ROW, transform: `translateY(${start}px)` }}>
                <button
                  type="button"
                  className={`timeline-row${selected === task.component ? ' is-selected' : ''}`}
                  onClick={() => onSelect(task.component)}
                  title={`${task.key}: ${look(task.last.status).word}, ${duration(took('queue'))} in the queue, ${duration(took('wait'))} waiting, ${duration(took('work'))} at work${took('sent') > 0 ? `, sent ${duration(took('sent'))} ago` : ''}`}
                >
                  <span className="timeline-name">
                    <Status status={task.last.status} compact />
                    <span className="clip">{task.key}</span>
                    {task.attempts.length > 1 && <span className="tag quiet">×{task.attempts.length}</span>}
                  </span>
                  <span className="timeline-track">
                    {marks.map((at) => (
                      <span key={at} className="timeline-grid" style={{ left: percent(at) }} />
                    ))}
                    {at !== undefined && <span className="timeline-now" style={{ left: percent(Math.min(span, Math.max(0, Date.parse(at) - origin))) }} />}
                    {row.spans.map((each, index) => (
                      <span
                        key={index}
                        className={`timeline-bar is-${each.kind} tone-${look(each.status).tone}`}
                        style={{ left: percent(each.from), width: each.kind === 'moment' ? undefined : percent(each.to - each.from) }}
                      />
                    ))}
                  </span>
                  <span className="timeline-took num">{row.spans.some((each) => each.kind === 'work' || each.kind === 'wait') ? duration(took('work', 'wait')) : ''}</span>
                </button>
              </div>
            );
          })}
        </div>
      </div>
      <div className="legend">
        {LEGEND.filter(({ kind }) => kinds.has(kind)).map(({ kind, tone, word }) => (
          <span key={kind} aria-hidden="true">
            <span className={`timeline-bar is-${kind} tone-${tone}`} /> {word}
          </span>
        ))}
        <span className="spacer" />
        <span role="status" className="num">
          {cut && `The first ${cut.shown.toLocaleString()} attempts${cut.least > cut.shown ? ` of ${cut.least.toLocaleString()} or more` : '; there are more'}`}
        </span>
      </div>
    </div>
  );
}
