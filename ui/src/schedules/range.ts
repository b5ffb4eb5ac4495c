/** A moment as a field for date and time shows it, in the zone of this browser. */
export function asField(moment: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}`;
}

/** What two fields say, as the API takes it; or why they cannot be taken. */
export function rangeOf(from: string, to: string, now: number): { from: string; to: string } | { mistake: string } {
  const [begin, end] = [Date.parse(from), Date.parse(to)];
  if (Number.isNaN(begin) || Number.isNaN(end)) return { mistake: 'Give both a first and a last instant.' };
  if (end < begin) return { mistake: 'The last instant is before the first one.' };
  if (end > now) return { mistake: 'The last instant is not past yet.' };
  return { from: new Date(begin).toISOString(), to: new Date(end).toISOString() };
}

/** An instant with its offset as people in that zone read it, without seconds that are none: `2026-11-29 00:45 +01:00`. */
export function inItsZone(text: string): string {
  const parts = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d)?(?:\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (!parts) return text;
  const [, date, minute, second, offset] = parts;
  return `${date} ${minute}${second === undefined || second === ':00' ? '' : second} ${offset === 'Z' ? 'UTC' : offset}`;
}
