import type { Attempt } from '../api/client';

const instant = (text: string | null | undefined) => (text ? Date.parse(text) : undefined);

/** What of the attempts was there at an instant, as it was then. Clocks of workers may differ a little from that of the journal. */
export function attemptsAt(attempts: readonly Attempt[], at: number): Attempt[] {
  return attempts.flatMap((attempt) => {
    const [ordered, started, finished] = [instant(attempt.dispatched_at), instant(attempt.started_at), instant(attempt.finished_at)];
    const first = ordered ?? started ?? finished;
    if (first === undefined) return attempt.carried_from || attempt.pinned ? [attempt] : [];
    if (first > at) return [];
    if (finished === undefined || finished <= at) return [attempt];
    const { output: _output, ...rest } = attempt;
    const begun = started !== undefined && started <= at;
    return [
      {
        ...rest,
        status: begun ? 'running' : 'dispatched',
        started_at: begun ? attempt.started_at : null,
        finished_at: null,
        duration_ms: null,
        output_reference: null,
        failure: null,
        ports: [],
        reason: null,
        until: null,
      } as Attempt,
    ];
  });
}

/** The first turn of every journal. */
export const FIRST = 1;
/** How many steps playing a whole journal takes at most. */
const STEPS = 60;

/** A turn of a journal that has `last` turns. */
export function within(seq: number, last: number): number {
  return Math.min(Math.max(FIRST, Math.round(seq)), Math.max(FIRST, last));
}

/** How many turns playing goes on at once: one by one in a short journal, and never for more than a minute. */
export function strideOf(last: number): number {
  return Math.max(1, Math.ceil(last / STEPS));
}

/** The turn in an address; undefined when there is none. */
export function turnOf(value: unknown): number | undefined {
  const seq = typeof value === 'number' ? value : typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  return Number.isSafeInteger(seq) && seq >= FIRST ? seq : undefined;
}
