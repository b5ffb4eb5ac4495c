import type { Bucket } from '../api/statistics';
import { duration } from '../ui/format';

/** How far back a dashboard looks. */
export type Range = '1h' | '24h' | '7d';

/** Ranges by their name in the address: how long they are, and what is counted together, in seconds. */
export const RANGES: Record<Range, { label: string; seconds: number; bucket: number }> = {
  '1h': { label: 'Last hour', seconds: 3_600, bucket: 60 },
  '24h': { label: 'Last 24 hours', seconds: 86_400, bucket: 900 },
  '7d': { label: 'Last 7 days', seconds: 604_800, bucket: 7_200 },
};

/** The range that an address names; the day when it names none. */
export function rangeOf(value: unknown): Range {
  return value === '1h' || value === '7d' ? value : '24h';
}

/** From when to when is asked: up to the end of the bucket that is being filled, so that buckets stay where they are. */
export function spanOf(range: Range, now: number): { from: string; to: string } {
  const { seconds, bucket } = RANGES[range];
  const to = Math.ceil(now / (bucket * 1_000)) * bucket * 1_000;
  return { from: new Date(to - seconds * 1_000).toISOString(), to: new Date(to).toISOString() };
}

/** All buckets together. */
export function totals(buckets: readonly Bucket[]): Record<'accepted' | 'completed' | 'failed' | 'cancelled' | 'ended', number> {
  const sum = { accepted: 0, completed: 0, failed: 0, cancelled: 0, ended: 0 };
  for (const bucket of buckets) {
    for (const name of ['accepted', 'completed', 'failed', 'cancelled'] as const) sum[name] += bucket[name];
  }
  return { ...sum, ended: sum.completed + sum.failed + sum.cancelled };
}

/** A part of a whole in words: `0 %`, `below 1 %`, `12 %`. */
export function percent(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0 %';
  const value = (part / whole) * 100;
  return value < 1 ? 'below 1 %' : `${Math.round(value)} %`;
}

export interface Series {
  label: string;
  tone: 'good' | 'bad' | 'busy' | 'wait' | 'quiet' | 'accent';
  /** Lines differ by their strokes as well, and not by colour alone. */
  stroke: 'whole' | 'dashed' | 'dotted' | 'area';
  values: (number | null)[];
}

export interface Drawing {
  title: string;
  /** What is to be seen, in a sentence. */
  summary: string;
  /** In seconds since 1970. */
  times: number[];
  series: Series[];
  unit: 'count' | 'duration';
  isEmpty: boolean;
}

const largest = (values: readonly (number | null)[]): number | undefined => {
  const known = values.filter((value): value is number => value !== null);
  return known.length === 0 ? undefined : Math.max(...known);
};

/** The charts of a dashboard, with their sentences. */
export function drawings(buckets: readonly Bucket[], bucketSeconds: number): Drawing[] {
  const times = buckets.map(({ at }) => Date.parse(at) / 1_000);
  const of = (name: Exclude<keyof Bucket, 'at'>) => buckets.map((bucket) => bucket[name] ?? null);
  const sum = totals(buckets);
  const each = duration(bucketSeconds * 1_000);
  const busiest = largest(of('accepted')) ?? 0;
  const worst = largest(of('duration_p95_ms'));
  const waited = largest(of('wait_p95_ms'));
  const failedIn = buckets.filter((bucket) => bucket.failed > 0).length;
  return [
    {
      title: 'Throughput',
      summary:
        sum.accepted + sum.ended === 0
          ? 'Nothing was executed in this time.'
          : `${sum.accepted} accepted and ${sum.completed} completed; at most ${busiest} accepted within ${each}.`,
      times,
      series: [
        { label: 'Completed', tone: 'good', stroke: 'area', values: of('completed') },
        { label: 'Accepted', tone: 'accent', stroke: 'whole', values: of('accepted') },
        { label: 'Cancelled', tone: 'quiet', stroke: 'dotted', values: of('cancelled') },
      ],
      unit: 'count',
      isEmpty: sum.accepted + sum.ended === 0,
    },
    {
      title: 'Failures',
      summary: sum.failed === 0 ? 'Nothing failed.' : `${sum.failed} failed, ${percent(sum.failed, sum.ended)} of what ended, in ${failedIn} of ${buckets.length} spans of ${each}.`,
      times,
      series: [{ label: 'Failed', tone: 'bad', stroke: 'area', values: of('failed') }],
      unit: 'count',
      isEmpty: sum.failed === 0,
    },
    {
      title: 'Latency',
      summary:
        worst === undefined && waited === undefined
          ? 'Nothing ended, so there is nothing to measure.'
          : [
              worst !== undefined ? `19 of 20 executions took at most ${duration(worst)} in the slowest span of ${each}` : '',
              waited !== undefined ? `${worst === undefined ? 'Tasks' : 'tasks'} waited up to ${duration(waited)}` : '',
            ]
              .filter(Boolean)
              .join('; ') + '.',
      times,
      series: [
        { label: 'Half of them (p50)', tone: 'busy', stroke: 'whole', values: of('duration_p50_ms') },
        { label: '19 of 20 (p95)', tone: 'wait', stroke: 'dashed', values: of('duration_p95_ms') },
        { label: 'Waiting (p95)', tone: 'quiet', stroke: 'dotted', values: of('wait_p95_ms') },
      ],
      unit: 'duration',
      isEmpty: worst === undefined && waited === undefined,
    },
  ];
}

/** A value of a chart in words. */
export function worded(value: number | null | undefined, unit: Drawing['unit']): string {
  if (value === null || value === undefined) return '–';
  return unit === 'duration' ? duration(value) : String(value);
}

const DAY = 86_400;

/** What stands at marks of the time, `step` seconds apart: the time of day as logs show it, and the date where a day begins. */
export function marks(times: readonly number[], step: number): string[] {
  return times.map((at) => {
    const date = new Date(at * 1_000);
    const isDay = step >= DAY || (date.getHours() === 0 && date.getMinutes() === 0);
    return isDay ? date.toLocaleDateString(undefined, { day: 'numeric', month: 'short' }) : date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  });
}

/** Values that no line goes through, by their index: without a dot they would not be seen. */
export function lonely(values: readonly (number | null)[], spansGaps: boolean): number[] {
  const known = values.flatMap((value, index) => (value === null ? [] : [index]));
  if (spansGaps) return known.length === 1 ? known : [];
  return known.filter((index) => (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null);
}
