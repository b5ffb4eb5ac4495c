import { expect, it } from 'vitest';

import type { Attempt, Progress } from '../api/client';
import { see } from '../api/live';
import { fate, isNearEnd, leastOf, spans, tasksOf, ticks, together } from './attempts';

const attempt = (given: Partial<Attempt>): Attempt => ({ component: 'a', attempt: 1, status: 'completed', dispatches: 1, ...given });
const ORIGIN = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number) => new Date(ORIGIN + ms).toISOString();

it('puts the attempts of one task together, rounds apart', () => {
  const tasks = tasksOf([
    attempt({ iteration: [0], status: 'failed' }),
    attempt({ iteration: [1] }),
    attempt({ iteration: [0], attempt: 2 }),
  ]);
  expect(tasks.map((task) => [task.key, task.attempts.length, task.last.status])).toEqual([
    ['a[0]', 2, 'completed'],
    ['a[1]', 1, 'completed'],
  ]);
  expect(together(tasks)).toEqual({ status: 'completed', ended: 2, total: 2 });
  expect(together(tasksOf([attempt({ iteration: [0] }), attempt({ iteration: [1], status: 'running' })]))?.status).toBe('running');
  expect(together([])).toBeUndefined();
});

it('says along which connections it went', () => {
  expect(fate(undefined, 'success')).toBeUndefined();
  expect(fate(attempt({ status: 'running' }), 'success')).toBeUndefined();
  expect(fate(attempt({ ports: ['true'] }), 'true')).toBe('fired');
  expect(fate(attempt({ ports: ['true'] }), 'false')).toBe('dead');
  expect(fate(attempt({ status: 'failed' }), 'error')).toBe('fired');
  expect(fate(attempt({ status: 'failed' }), 'success')).toBe('dead');
  expect(fate(attempt({ status: 'failed', failure: { class: 'timeout', message: '' } }), 'timeout')).toBe('fired');
  expect(fate(attempt({ status: 'skipped' }), 'success')).toBe('dead');
});

it('draws waiting in the queue apart from working', () => {
  const whole = attempt({ dispatched_at: at(100), started_at: at(400), finished_at: at(1_000) });
  expect(spans(whole, ORIGIN, ORIGIN + 5_000)).toMatchObject([
    { kind: 'queue', from: 100, to: 400 },
    { kind: 'work', from: 400, to: 1_000 },
  ]);
  const open = attempt({ status: 'dispatched', dispatched_at: at(100) });
  expect(spans(open, ORIGIN, ORIGIN + 900)).toMatchObject([{ kind: 'sent', from: 100, to: 900 }]);
  const dropped = attempt({ status: 'cancelled', dispatched_at: at(100), finished_at: at(300) });
  expect(spans(dropped, ORIGIN, ORIGIN + 900)).toMatchObject([{ kind: 'queue', from: 100, to: 300 }]);
  // The worker's clock is behind: the bar has no negative width.
  const skewed = attempt({ dispatched_at: at(500), started_at: at(300), finished_at: at(600) });
  for (const span of spans(skewed, ORIGIN, ORIGIN)) expect(span.to).toBeGreaterThanOrEqual(span.from);
  expect(spans(attempt({ attempt: 0, finished_at: at(7) }), ORIGIN, ORIGIN)).toMatchObject([{ kind: 'moment', from: 7 }]);
  // Also when it is over, a delay was no work.
  const delay = attempt({ type: 'delay', attempt: 0, started_at: at(0), finished_at: at(700) });
  expect(spans(delay, ORIGIN, ORIGIN)).toMatchObject([{ kind: 'wait', from: 0, to: 700 }]);
});

it('marks the axis at round times, not too many', () => {
  expect(ticks(1_000, 8)).toEqual([0, 200, 400, 600, 800, 1_000]);
  for (const span of [3, 70, 4_000, 90_000, 7_200_000, 1e9]) expect(ticks(span, 8).length).toBeLessThanOrEqual(9);
});

it('puts live events together, and ignores old ones', () => {
  const progress = (seq: number, states: Record<string, string>): Progress => ({
    execution: 'e',
    seq,
    at: at(seq),
    status: 'running',
    failing: false,
    settled: 0,
    total: 2,
    progress: 0,
    components: Object.entries(states).map(([component, state]) => ({ component, state, attempt: 1 })),
  });
  let sight = see(undefined, 'snapshot', progress(3, { a: 'running', b: 'waiting' }));
  sight = see(sight, 'update', progress(5, { a: 'completed' }));
  expect(sight.components.get('a')?.state).toBe('completed');
  expect(sight.components.get('b')?.state).toBe('waiting');
  expect(see(sight, 'update', progress(4, { a: 'running' }))).toBe(sight);
  expect(see(sight, 'end', progress(6, {})).ended).toBe(true);
  expect(see(sight, 'snapshot', progress(7, { a: 'failed' })).components.has('b')).toBe(false);
});

it('knows how many attempts there are at least, by the rounds of loops that have ended', () => {
  expect(leastOf(undefined)).toBe(0);
  const progress: Progress = {
    execution: 'e',
    seq: 1,
    at: at(0),
    status: 'running',
    failing: false,
    settled: 1,
    total: 3,
    progress: 0,
    components: [
      { component: 'a', state: 'completed', attempt: 1 },
      { component: 'b', state: 'running', attempt: 0, rounds: { ended: 9_000, total: 10_000 } as never },
      { component: 'c', state: 'running', attempt: 0, rounds: { ended: 7 } as never },
    ],
  };
  expect(leastOf(see(undefined, 'snapshot', progress))).toBe(9_007);
});

it('reads on some rows before the end of a list', () => {
  const list = (scrollTop: number) => ({ scrollTop, clientHeight: 200, scrollHeight: 13_000 });
  expect(isNearEnd(list(0), 26)).toBe(false);
  expect(isNearEnd(list(11_000), 26)).toBe(false);
  expect(isNearEnd(list(12_000), 26)).toBe(true);
});
