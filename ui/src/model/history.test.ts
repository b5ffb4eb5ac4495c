import { expect, it } from 'vitest';

import { begin, change, redo, undo } from './history';

it('goes back and forth', () => {
  let history = begin('a');
  history = change(history, 'b', 'one', 0);
  history = change(history, 'c', 'two', 10);
  history = undo(history);
  expect(history.present).toBe('b');
  history = undo(history);
  expect(history.present).toBe('a');
  expect(undo(history)).toBe(history);
  history = redo(redo(history));
  expect(history.present).toBe('c');
  expect(redo(history)).toBe(history);
});

it('takes typing into one field as one step, and another field as another', () => {
  let history = begin('');
  history = change(history, 'a', 'type', 0, 'x.title');
  history = change(history, 'ab', 'type', 400, 'x.title');
  history = change(history, 'abc', 'type', 5_000, 'x.title');
  history = change(history, 'abcd', 'type', 5_100, 'y.title');
  expect(history.past.map((entry) => entry.text)).toEqual(['', 'ab', 'abc']);
});

it('forgets what was undone once something else is done, and nothing when nothing changes', () => {
  let history = change(begin('a'), 'b', 'one', 0);
  expect(change(history, 'b', 'same', 1)).toBe(history);
  history = change(undo(history), 'c', 'other', 2);
  expect(history.future).toEqual([]);
  expect(undo(history).present).toBe('a');
});
