import * as Y from 'yjs';

import { seed, type Change } from '../model/pieces';
import { numberOf, type Shared } from '../model/shared';

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

/** What is known about a document beside its content. */
const aboutOf = (doc: Y.Doc): Y.Map<unknown> => doc.getMap('about');

/** Which beginning a document goes back to: two of different beginnings hold different things under one name. */
export const lineOf = (doc: Y.Doc): number => {
  const line = aboutOf(doc).get('line');
  return typeof line === 'number' ? line : 0;
};

/** The draft that was kept on the server last: its revision, and a number made of its text. */
export interface Saved {
  revision: number;
  text: number;
}

export function savedOf(doc: Y.Doc): Saved | undefined {
  const saved = aboutOf(doc).get('saved') as Partial<Saved> | undefined;
  return typeof saved?.revision === 'number' && typeof saved.text === 'number' ? { revision: saved.revision, text: saved.text } : undefined;
}

export const setSaved = (doc: Y.Doc, saved: Saved): void => void aboutOf(doc).set('saved', saved);

/** Tells of drafts that others kept. */
export function onSaved(doc: Y.Doc, told: (saved: Saved) => void): void {
  aboutOf(doc).observe((event, transaction) => {
    const saved = savedOf(doc);
    if (!transaction.local && event.keysChanged.has('saved') && saved) told(saved);
  });
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
    aboutOf(doc).set('line', doc.clientID);
    for (const [name, value] of [...seed(text)].sort(([a], [b]) => (a < b ? -1 : 1))) registers.set(name, value);
  });
  const state = Y.encodeStateAsUpdate(doc);
  doc.destroy();
  return state;
}

/** Lets the changes of each side reach the other, and what is different at `shared` now reach `doc`. Ends with the answer. */
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
  const [here, there] = [shared.entries(), contentOf(doc)];
  const news: Change[] = [...here].filter(([name, value]) => there.get(name) !== value);
  for (const name of there.keys()) if (!here.has(name)) news.push([name, undefined]);
  if (news.length > 0) onChange(news);
  registers.observe(onEvent);
  return () => {
    registers.unobserve(onEvent);
    if (shared.onChange === onChange) shared.onChange = undefined;
  };
}
