import { EditorState } from '@codemirror/state';
import { expect, it } from 'vitest';

import { lastLineEnds } from './lastLine';

const at = (doc: string, anchor: number) => EditorState.create({ doc, selection: { anchor }, extensions: [lastLineEnds] });

it('what is typed on the last line ends it, behind the cursor', () => {
  const before = at('a:\n', 3);
  const { state } = before.update({ changes: { from: 3, insert: 'b' }, selection: { anchor: 4 } });
  expect(state.doc.toString()).toBe('a:\nb\n');
  expect(state.selection.main.head).toBe(4);
  // From then on nothing is added.
  const next = state.update({ changes: { from: 4, insert: 'c' }, selection: { anchor: 5 } });
  expect(next.newDoc.toString()).toBe('a:\nbc\n');
  expect(next.newSelection.main.head).toBe(5);
});

it('an end that is deleted stays, and the cursor goes before it', () => {
  const { state } = at('a\n', 2).update({ changes: { from: 1, to: 2 } });
  expect(state.doc.toString()).toBe('a\n');
  expect(state.selection.main.head).toBe(1);
});

it('an empty text stays empty, and only moving changes nothing', () => {
  expect(at('a\n', 0).update({ changes: { from: 0, to: 2 } }).newDoc.length).toBe(0);
  expect(at('a', 0).update({ selection: { anchor: 1 } }).newDoc.toString()).toBe('a');
});
