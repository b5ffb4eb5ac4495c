import { expect, it } from 'vitest';

import { MOST_SAVED, parseSaved, sameFilters, withSaved } from './savedFilters';

it('filters are kept under their name, the newest of that name', () => {
  const one = withSaved([], { name: 'mine', filters: { status: 'failed' } });
  expect(withSaved(one, { name: 'mine', filters: { tag: 'x' } })).toEqual([{ name: 'mine', filters: { tag: 'x' } }]);
  let many = one;
  for (let at = 0; at < MOST_SAVED; at += 1) many = withSaved(many, { name: `n${at}`, filters: {} });
  expect(many).toHaveLength(MOST_SAVED);
  expect(many.some((each) => each.name === 'mine')).toBe(false);
});

it('what was kept is read again, and nonsense is not', () => {
  const list = [{ name: 'mine', filters: { status: 'failed', failing: true as const } }];
  expect(parseSaved(JSON.stringify(list))).toEqual(list);
  expect(parseSaved('{')).toEqual([]);
  expect(parseSaved('{}')).toEqual([]);
  expect(parseSaved(JSON.stringify([{ name: 1 }, { name: 'x', filters: { status: 3 } }, null]))).toEqual([]);
  expect(parseSaved(null)).toEqual([]);
});

it('filters are the same in any order', () => {
  expect(sameFilters({ status: 'failed', tag: 'x' }, { tag: 'x', status: 'failed' })).toBe(true);
  expect(sameFilters({ status: 'failed' }, { status: 'failed', tag: 'x' })).toBe(false);
});
