import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { read, setField } from '../model/document';
import { Shared } from '../model/shared';
import { share, type Kept, type Session } from './session';

const TEXT = '# Kept.\nworkflow: v1\nname: x\ncomponents:\n  a:\n    type: noop\n';

const open: Session[] = [];
beforeEach(() => {
  // What a page has and Node.js has not.
  vi.stubGlobal('addEventListener', () => undefined);
  vi.stubGlobal('removeEventListener', () => undefined);
});
afterEach(() => {
  for (const session of open.splice(0)) session.close();
  vi.unstubAllGlobals();
});

async function join(id: string, kept: Kept = { text: TEXT, revision: 0 }) {
  const shared = new Shared(TEXT);
  const heard: [number, string | undefined][] = [];
  const session = await share(id, shared, TEXT, kept, {
    saved: (revision, text) => heard.push([revision, text]),
    apart: () => undefined,
    read: () => Promise.resolve(kept),
  });
  open.push(session);
  return { shared, session, heard };
}

const title = (shared: Shared, set: string) => {
  const { text } = shared;
  shared.put(setField(text, read(text).workflow.components.get('a')!, 'title', set), text, { now: 0, label: 'title', isDrawn: true });
};
const titleOf = (shared: Shared) => read(shared.text).workflow.components.get('a')?.title;

it('brings changes, people and kept drafts from one tab to the other', async () => {
  const [a, b] = [await join('one'), await join('one')];
  title(a.shared, 'from a');
  await vi.waitFor(() => expect(titleOf(b.shared)).toBe('from a'));
  expect(b.shared.see().isOwn).toBe(false);
  expect(b.shared.text).toContain('# Kept.');

  a.session.show({ selection: ['a'], at: [3, 4] });
  a.session.rename('Ada');
  await vi.waitFor(() => expect(b.session.people()).toMatchObject([{ name: 'Ada', selection: ['a'], at: [3, 4] }]));

  a.session.tellSaved({ text: a.shared.text, revision: 7 });
  await vi.waitFor(() => expect(b.heard).toEqual([[7, a.shared.text]]));

  a.session.close();
  await vi.waitFor(() => expect(b.session.people()).toEqual([]));
});

it('gives one who comes later what was done before', async () => {
  const a = await join('two');
  title(a.shared, 'before');
  const b = await join('two');
  await vi.waitFor(() => expect(titleOf(b.shared)).toBe('before'));
  b.shared.undo();
  expect(titleOf(b.shared)).toBe('before');
});

it('keeps what was drawn before it began', async () => {
  const shared = new Shared(TEXT);
  title(shared, 'early');
  const session = await share('three', shared, TEXT, { text: TEXT, revision: 0 }, { saved: () => undefined, apart: () => undefined, read: () => Promise.reject(new Error('not asked')) });
  open.push(session);
  const other = await join('three');
  await vi.waitFor(() => expect(titleOf(other.shared)).toBe('early'));
  shared.undo();
  await vi.waitFor(() => expect(titleOf(other.shared)).toBeUndefined());
});
