import type { Attempt } from '../api/client';
import type { Sight } from '../api/live';

/** The key of a task: its component, and the rounds of the loops it stands in. */
export function taskKey({ component, iteration }: Pick<Attempt, 'component' | 'iteration'>): string {
  return component + (iteration ?? []).map((round) => `[${round}]`).join('');
}

/** All attempts of one task. */
export interface Task {
  key: string;
  component: string;
  iteration: number[];
  type: string | undefined;
  attempts: Attempt[];
  /** The last of them. */
  last: Attempt;
}

export function tasksOf(attempts: readonly Attempt[]): Task[] {
  const tasks = new Map<string, Task>();
  for (const attempt of attempts) {
    const key = taskKey(attempt);
    const task = tasks.get(key);
    if (task) {
      task.attempts.push(attempt);
      task.last = attempt;
    } else {
      tasks.set(key, {
        key,
        component: attempt.component,
        iteration: attempt.iteration ?? [],
        type: attempt.type ?? undefined,
        attempts: [attempt],
        last: attempt,
      });
    }
  }
  return [...tasks.values()];
}

/** How many attempts an execution has at least: each round of a loop that has ended had one. */
export function leastOf(sight: Sight | undefined): number {
  let least = 0;
  for (const { rounds } of sight?.components.values() ?? []) least += rounds?.ended ?? 0;
  return least;
}

/** Whether a list is scrolled so far that what comes next should be on its way. */
export function isNearEnd({ scrollTop, clientHeight, scrollHeight }: Pick<Element, 'scrollTop' | 'clientHeight' | 'scrollHeight'>, row: number): boolean {
  return scrollTop + clientHeight > scrollHeight - 40 * row;
}

const OPEN = new Set(['ready', 'limited', 'dispatched', 'running', 'asked', 'awaiting', 'delayed', 'lost', 'returned']);

/** Where a component inside loops stands, all its rounds together: the worst that happened, then what still runs. */
export function together(tasks: readonly Task[]): { status: string; ended: number; total: number } | undefined {
  if (tasks.length === 0) return undefined;
  const states = tasks.map((task) => task.last.status);
  const ended = states.filter((status) => !OPEN.has(status)).length;
  const status = states.includes('failed')
    ? 'failed'
    : ended < states.length
      ? 'running'
      : states.includes('completed')
        ? 'completed'
        : (states[0] ?? 'waiting');
  return { status, ended, total: states.length };
}

/** Whether a connection was gone along or can no longer be; nothing while that is open. */
export function fate(last: Attempt | undefined, port: string): 'fired' | 'dead' | undefined {
  if (!last) return undefined;
  const own = last.ports ?? [];
  switch (last.status) {
    case 'completed':
      return port === 'success' || own.includes(port) ? 'fired' : 'dead';
    case 'failed':
      if (port === 'timeout') return last.failure?.class === 'timeout' ? 'fired' : 'dead';
      return port === 'error' ? 'fired' : 'dead';
    case 'skipped':
    case 'cancelled':
      return 'dead';
    default:
      return undefined;
  }
}

/** One piece of a bar: waiting apart from working. What was sent may be either until its worker reports. In milliseconds since the origin. */
export interface Span {
  kind: 'queue' | 'sent' | 'work' | 'wait' | 'moment';
  from: number;
  to: number;
  status: string;
  attempt: number;
}

/** Components that do nothing but wait: for an instant, for somebody, for an event. */
const WAITING = new Set(['delay', 'rate_limit', 'approval', 'human_task', 'wait_for_event']);

/** The pieces of an attempt on a time line that begins at `origin`; what is not over ends at `now`. */
export function spans(attempt: Attempt, origin: number, now: number): Span[] {
  const at = (text: string | null | undefined) => (text ? Date.parse(text) - origin : undefined);
  const ordered = at(attempt.dispatched_at);
  const started = at(attempt.started_at);
  const finished = at(attempt.finished_at);
  const end = finished ?? now - origin;
  const base = { status: attempt.status, attempt: attempt.attempt };
  const found: Span[] = [];
  if (ordered !== undefined) {
    // Clocks of two machines may differ; a bar never runs backwards.
    found.push({ ...base, kind: started === undefined && finished === undefined ? 'sent' : 'queue', from: ordered, to: Math.max(ordered, started ?? end) });
  }
  if (started !== undefined) {
    const waits = ['delayed', 'asked', 'awaiting'].includes(attempt.status) || (attempt.attempt === 0 && WAITING.has(attempt.type ?? ''));
    found.push({ ...base, kind: waits ? 'wait' : 'work', from: started, to: Math.max(started, end) });
  }
  if (found.length === 0 && finished !== undefined) found.push({ ...base, kind: 'moment', from: finished, to: finished });
  return found;
}

/** Round distances between marks of a time axis: at most `most` marks over `span` milliseconds. */
export function ticks(span: number, most: number): number[] {
  const steps = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
    3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000, 604_800_000,
  ];
  const step = steps.find((each) => span / each <= most) ?? span;
  const marks: number[] = [];
  for (let at = 0; at <= span; at += step) marks.push(at);
  return marks;
}

/** A name for each line of a log, that an address can hold: its turn, and which line of that turn it is. Lines are only added, so it stays. */
export function lineNames(lines: readonly { seq: number }[]): string[] {
  let turn = -1;
  let within = 0;
  return lines.map(({ seq }) => {
    within = seq === turn ? within + 1 : 1;
    turn = seq;
    return `${seq}.${within}`;
  });
}
