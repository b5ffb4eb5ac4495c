/** How long before its end a session is spoken of, in milliseconds. */
export const BEFORE = 5 * 60_000;

/** How long it takes until a session is over, in milliseconds. Undefined when there is no end, or it has been. */
export function endsIn(end: string | null | undefined, now: number): number | undefined {
  const left = end ? Date.parse(end) - now : Number.NaN;
  return left > 0 ? left : undefined;
}

/** How long it takes until somebody is to be warned, in milliseconds: 0 is now. Undefined when there is no end, or it is over. */
export function warnIn(end: string | null | undefined, now: number): number | undefined {
  const left = endsIn(end, now);
  return left === undefined ? undefined : Math.max(0, left - BEFORE);
}
