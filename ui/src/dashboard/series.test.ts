import { expect, it } from 'vitest';

import type { Bucket } from '../api/statistics';
import { drawings, lonely, marks, percent, rangeOf, spanOf, totals, worded } from './series';

const bucket = (at: string, given: Partial<Bucket> = {}): Bucket => ({
  at,
  accepted: 0,
  completed: 0,
  failed: 0,
  cancelled: 0,
  duration_p50_ms: null,
  duration_p95_ms: null,
  wait_p95_ms: null,
  ...given,
});

it('the time asked for ends with a whole bucket, and is as long as its name says', () => {
  const { from, to } = spanOf('24h', Date.parse('2026-01-02T10:07:00Z'));
  expect(to).toBe('2026-01-02T10:15:00.000Z');
  expect(from).toBe('2026-01-01T10:15:00.000Z');
  expect([rangeOf('1h'), rangeOf('7d'), rangeOf('30d'), rangeOf(undefined)]).toEqual(['1h', '7d', '24h', '24h']);
});

it('what failed is a part of what ended', () => {
  const sum = totals([bucket('', { accepted: 5, completed: 3, failed: 1 }), bucket('', { accepted: 1, cancelled: 1 })]);
  expect(sum).toEqual({ accepted: 6, completed: 3, failed: 1, cancelled: 1, ended: 5 });
  expect([percent(1, 5), percent(0, 0), percent(1, 1_000), percent(0, 7)]).toEqual(['20 %', '0 %', 'below 1 %', '0 %']);
});

it('every chart says in a sentence what it shows', () => {
  const [throughput, failures, latency] = drawings(
    [
      bucket('2026-01-01T00:00:00Z', { accepted: 4, completed: 3, failed: 1, duration_p50_ms: 100, duration_p95_ms: 2_500 }),
      bucket('2026-01-01T00:01:00Z', { accepted: 1, wait_p95_ms: 40 }),
    ],
    60,
  );
  expect(throughput?.summary).toBe('5 accepted and 3 completed; at most 4 accepted within 1 min.');
  expect(failures?.summary).toBe('1 failed, 25 % of what ended, in 1 of 2 spans of 1 min.');
  expect(latency?.summary).toBe('19 of 20 executions took at most 2.5 s in the slowest span of 1 min; tasks waited up to 40 ms.');
  expect(latency?.series[1]?.values).toEqual([2_500, null]);
  expect(throughput?.times).toEqual([1_767_225_600, 1_767_225_660]);
});

it('empty charts say so', () => {
  const empty = drawings([bucket('2026-01-01T00:00:00Z')], 60);
  expect(empty.map(({ isEmpty }) => isEmpty)).toEqual([true, true, true]);
  expect(empty[1]?.summary).toBe('Nothing failed.');
  expect([worded(null, 'count'), worded(7, 'count'), worded(1_500, 'duration')]).toEqual(['–', '7', '1.5 s']);
});

it('a value that no line goes through is marked with a dot', () => {
  expect(lonely([null, 3, null, 4, 5, null, 0], false)).toEqual([1, 6]);
  expect(lonely([null, 3, null], true)).toEqual([1]);
  expect(lonely([null, 3, null, 4], true)).toEqual([]);
  expect(lonely([], true)).toEqual([]);
});

it('marks of the time are of 24 hours, and say the date where a day begins', () => {
  const at = (...local: [number, number, number, number, number]) => new Date(...local).getTime() / 1_000;
  const [evening, midnight] = marks([at(2026, 0, 5, 22, 30), at(2026, 0, 6, 0, 0)], 5_400);
  expect(evening).toBe('22:30');
  expect(midnight).toMatch(/6/);
  expect(midnight).not.toMatch(/:/);
  expect(marks([at(2026, 0, 5, 12, 0)], 86_400)[0]).not.toMatch(/:/);
});
