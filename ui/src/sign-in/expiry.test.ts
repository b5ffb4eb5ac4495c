import { expect, it } from 'vitest';

import { BEFORE, endsIn, warnIn } from './expiry';

const NOW = Date.parse('2026-05-01T10:00:00Z');
const after = (ms: number) => new Date(NOW + ms).toISOString();

it('the end of a session is spoken of some minutes before it', () => {
  expect(warnIn(after(8 * 3_600_000), NOW)).toBe(8 * 3_600_000 - BEFORE);
  expect(warnIn(after(BEFORE), NOW)).toBe(0);
  // A machine that slept is told when it wakes up.
  expect(warnIn(after(1_000), NOW)).toBe(0);
});

it('a session without an end, or after it, is not spoken of', () => {
  for (const end of [null, undefined, 'soon', after(0), after(-1)]) {
    expect(warnIn(end, NOW)).toBeUndefined();
    expect(endsIn(end, NOW)).toBeUndefined();
  }
  expect(endsIn(after(1_000), NOW)).toBe(1_000);
});
