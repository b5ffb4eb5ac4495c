/** How long before its end a session is spoken of, in milliseconds. */
export const BEFORE = 5 * 60_000;

/** How long it takes until somebody is to be warned, in milliseconds: 0 is now. Undefined when there is no end, or it is over. */
export function warnIn(end: string | null | undefined, now: number): number | undefined {
  const left = end ? Date.parse(end) - now : Number.NaN;
  return left > 0 ? Math.max(0, left - BEFORE) : undefined;
}
