import * as Y from 'yjs';

import { seed, type Change } from '../model/pieces';
import type { Shared } from '../model/shared';

/** The registers of a document that is shared. */
export const registersOf = (doc: Y.Doc): Y.Map<string> => doc.getMap<string>('registers');

/** Whether anything was ever written into it. */
export const isBlank = (doc: Y.Doc): boolean => registersOf(doc).size === 0;

/** What a document holds, without what a faulty writer put beside texts. */
export function contentOf(doc: Y.Doc): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of registersOf(doc)) if (typeof value === 'string') found.set(name, value);
  return found;
}

/** A number made of a text, the same everywhere (FNV-1a). */
function numberOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

/**
 * The first state of a shared document, made of a text. To the byte the same wherever it is made: two people who begin
 * with one text begin with one document.
 */
export function firstState(text: string): Uint8Array {
  const doc = new Y.Doc();
  doc.clientID = numberOf(text);
  const registers = registersOf(doc);
  doc.transact(() => {
    for (const [name, value] of [...seed(text)].sort(([a], [b]) => (a < b ? -1 : 1))) registers.set(name, value);
  });
  const state = Y.encodeStateAsUpdate(doc);
  doc.destroy();
  return state;
}

/** Lets the changes of each side reach the other; the two hold the same when it begins. Ends with the answer. */
export function bind(shared: Shared, doc: Y.Doc): () => void {
  const registers = registersOf(doc);
  const own = {};
  const onChange = (changed: readonly Change[]) =>
    doc.transact(() => {
      for (const [name, value] of changed) {
        if (value === undefined) registers.delete(name);
        else registers.set(name, value);
      }
    }, own);
  const onEvent = (event: Y.YMapEvent<string>, transaction: Y.Transaction) => {
    if (transaction.origin === own) return;
    shared.receive(
      [...event.keysChanged].map((name): Change => {
        const value: unknown = registers.get(name);
        return [name, typeof value === 'string' ? value : undefined];
      }),
    );
  };
  shared.onChange = onChange;
  registers.observe(onEvent);
  return () => {
    registers.unobserve(onEvent);
    if (shared.onChange === onChange) shared.onChange = undefined;
  };
}
