import { expect, it } from 'vitest';

import { ago, bytes, duration } from './format';

it.each([
  [0, '0 ms'],
  [480, '480 ms'],
  [3_240, '3.2 s'],
  [59_400, '59 s'],
  [125_000, '2 min 5 s'],
  [3_780_000, '1 h 3 min'],
  [187_200_000, '2 d 4 h'],
  [-5, '0 ms'],
])('%i ms is %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it('says how long ago', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  expect(ago('2026-01-01T23:59:58Z', now)).toBe('just now');
  expect(ago('2026-01-01T23:50:00Z', now)).toBe('10 min ago');
  expect(ago('2026-01-01T00:00:00Z', now)).toBe('1 d ago');
});

it('says how large', () => {
  expect([bytes(10), bytes(2_048), bytes(3_145_728)]).toEqual(['10 B', '2.0 KiB', '3.0 MiB']);
});
