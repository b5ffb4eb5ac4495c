import { expect, it } from 'vitest';

import { asField, inItsZone, rangeOf } from './range';

const NOW = Date.parse('2026-03-01T12:00:00Z');

it('a range is taken when both ends are there, in order, and past', () => {
  const from = asField(new Date(NOW - 7_200_000));
  const to = asField(new Date(NOW - 3_600_000));
  expect(rangeOf(from, to, NOW)).toEqual({ from: '2026-03-01T10:00:00.000Z', to: '2026-03-01T11:00:00.000Z' });
  expect(rangeOf(to, from, NOW)).toEqual({ mistake: 'The last instant is before the first one.' });
  expect(rangeOf(from, asField(new Date(NOW + 60_000)), NOW)).toEqual({ mistake: 'The last instant is not past yet.' });
  expect(rangeOf('', to, NOW)).toEqual({ mistake: 'Give both a first and a last instant.' });
});

it('an instant is read in its own zone', () => {
  expect(inItsZone('2026-11-29T00:45:00+01:00')).toBe('2026-11-29 00:45 +01:00');
  expect(inItsZone('2026-11-29T00:45:30.000Z')).toBe('2026-11-29 00:45:30 UTC');
  expect(inItsZone('at noon')).toBe('at noon');
});
