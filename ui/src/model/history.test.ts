import { expect, it } from 'vitest';

import { begin, change, pack, redo, undo, unpack } from './history';

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

it('is kept over a reload, back and forth, when the text is still the same', () => {
  let history = begin('one two three');
  history = change(history, 'one 2 three', 'a', 0);
  history = change(history, 'one 2 three four', 'b', 1);
  history = undo(change(history, 'zero', 'c', 2));
  const again = unpack(JSON.parse(JSON.stringify(pack(history))), history.present);
  expect(again).toEqual(history);
  expect(unpack(pack(history), 'another text')).toBeUndefined();
  expect(unpack({ present: history.present, past: [['no patch']], future: [] }, history.present)).toBeUndefined();
  expect(unpack(null, '')).toBeUndefined();
});

it('keeps as many steps as there is room for, the newest', () => {
  let history = begin('');
  for (let step = 0; step < 80; step += 1) history = change(history, 'x'.repeat(step + 1), `step ${step}`, step);
  const again = unpack(pack(history), history.present);
  expect(again?.past).toEqual(history.past.slice(-50));
  const large = change(change(begin('a'.repeat(300_000)), 'b'.repeat(300_000), 'one', 0), 'c', 'two', 1);
  expect(unpack(pack(large), 'c')?.past.map((entry) => entry.label)).toEqual(['two']);
});
