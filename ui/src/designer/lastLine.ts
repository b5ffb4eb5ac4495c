import { EditorState, type Extension } from '@codemirror/state';

/**
 * Keeps the end of the last line, behind the cursor, in the very change that would leave it out.
 *
 * The document ends each text with it. Were it added later, with the text that comes back, it would be a change right where
 * somebody types, and take away what is offered there.
 */
export const lastLineEnds: Extension = EditorState.transactionFilter.of((transaction) => {
  if (!transaction.docChanged) return transaction;
  const { newDoc } = transaction;
  if (newDoc.line(newDoc.lines).length === 0) return transaction;
  return [transaction, { changes: { from: newDoc.length, insert: '\n' }, sequential: true }];
});
