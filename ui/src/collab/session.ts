import { IndexeddbPersistence } from 'y-indexeddb';
import { Awareness, removeAwarenessStates } from 'y-protocols/awareness';
import * as Y from 'yjs';

import { numberOf, type Shared } from '../model/shared';
import { COLOURS, NOBODY, type Person, type Place } from './people';
import { bind, contentOf, firstState, isBlank, lineOf, onSaved, savedOf, setSaved } from './replica';
import { overTabs } from './tabs';

/** A text the server keeps, and its revision; 0 is the published version. */
export interface Kept {
  text: string;
  revision: number;
}

/** What a session tells the page. */
export interface Told {
  /** Another person kept a draft; its text, when it was shown here. */
  saved: (revision: number, text: string | undefined) => void;
  /** The draft on the server and the shared document went apart, and nobody knows what they had in common. */
  apart: () => void;
  /** Reads the draft from the server. */
  read: () => Promise<Kept>;
}

/** Everything about one document that is shared with others. */
export interface Session {
  people: () => readonly Person[];
  subscribe: (listener: () => void) => () => void;
  /** Shows others where this person is. */
  show: (place: Partial<Place>) => void;
  name: () => string;
  rename: (name: string) => void;
  /** Tells others that a text is on the server. */
  tellSaved: (kept: Kept) => void;
  close: () => void;
}

/** How long the copy in this browser is waited for, in milliseconds. */
const PATIENCE = 2_000;
/** How long it takes at most, in milliseconds, until others hear that a draft was kept. */
const MOMENT = 400;
const NAME = 'apg.name';

const guest = () => `Guest ${1 + Math.floor(Math.random() * 99)}`;

function knownName(): string {
  try {
    const known = localStorage.getItem(NAME);
    if (known) return known;
    const made = guest();
    localStorage.setItem(NAME, made);
    return made;
  } catch {
    return guest(); // This browser keeps nothing: the name is of this page.
  }
}

const isPair = (value: unknown): value is [number, number] => Array.isArray(value) && value.length === 2 && value.every((each) => typeof each === 'number' && Number.isFinite(each));

/** Reads what somebody says of themselves; what is of the wrong kind is left out. */
function personOf(id: number, state: unknown, idOf: (key: string) => string | undefined): Person | undefined {
  const given = (state ?? {}) as Record<string, unknown>;
  if (typeof given['name'] !== 'string' || typeof given['colour'] !== 'number') return undefined;
  const keys = Array.isArray(given['selection']) ? given['selection'].filter((each): each is string => typeof each === 'string') : [];
  return {
    id,
    name: given['name'].slice(0, 40),
    colour: Math.abs(Math.trunc(given['colour'])) % COLOURS,
    selection: keys.map(idOf).filter((each) => each !== undefined),
    at: isPair(given['at']) ? given['at'] : undefined,
    line: isPair(given['line']) ? given['line'] : undefined,
  };
}

/** The copy of a document in this browser; without a store there is none, and the document lives on this page. */
async function stored(name: string, doc: Y.Doc): Promise<IndexeddbPersistence | undefined> {
  if (!('indexedDB' in globalThis)) return undefined;
  const store = new IndexeddbPersistence(name, doc);
  const isReady = await Promise.race([
    store.whenSynced.then(() => true),
    new Promise<false>((resolve) => setTimeout(() => resolve(false), PATIENCE)),
  ]);
  if (isReady && doc.store.pendingStructs === null) return store;
  await store.destroy();
  return undefined;
}

/** Shares a document: with the copy in this browser, with its other tabs, and with the people they are of. */
export async function share(id: string, shared: Shared, base: string, kept: Kept, told: Told): Promise<Session> {
  const listeners = new Set<() => void>();
  let isClosed = false;
  let people: readonly Person[] = NOBODY;
  const mine: Record<string, unknown> = { name: knownName(), colour: Math.floor(Math.random() * COLOURS), selection: [] };

  const doc = new Y.Doc();
  const store = await stored(`apg.room.${id}`, doc);
  const had = (await store?.get('saved')) as Kept | undefined;
  if (isBlank(doc)) Y.applyUpdate(doc, firstState(base));
  shared.adopt(contentOf(doc), base, shared.steps(), Date.now());
  const unbind = bind(shared, doc);

  const awareness = new Awareness(doc);
  const idOf = (key: string) => [...shared.keys].find(([, each]) => each === key)?.[0];
  const look = () => {
    people = [...awareness.getStates()].flatMap(([client, state]) => (client === doc.clientID ? [] : (personOf(client, state, idOf) ?? [])));
    for (const listener of listeners) listener();
  };
  awareness.on('change', look);
  const put = () => awareness.setLocalState({ ...mine });
  put();
  onSaved(doc, (saved) => told.saved(saved.revision, shared.remembered((text) => numberOf(text) === saved.text)));
  const tabs = overTabs(`apg.room.${id}.${lineOf(doc)}`, doc, awareness);
  /** Remembers what the server has, for the next time. */
  const remember = (of: Kept) => {
    // A browser that keeps nothing more has said so already.
    store?.set('saved', of as never).catch(() => undefined);
  };
  const tellSaved = (of: Kept) => {
    setSaved(doc, { revision: of.revision, text: numberOf(of.text) });
    remember(of);
  };
  /** Takes over what the server has and this document never saw, such as what came in through the API. */
  const reconcile = async () => {
    const isKnown = (text: string) => numberOf(text) === (savedOf(doc)?.text ?? numberOf(had?.text ?? kept.text));
    if (isKnown(kept.text)) {
      remember(kept);
      return;
    }
    // Who keeps a draft says so a moment later.
    await new Promise((resolve) => setTimeout(resolve, MOMENT));
    const now = await told.read();
    if (isClosed || isKnown(now.text)) return;
    const common = shared.remembered(isKnown) ?? (had && isKnown(had.text) ? had.text : undefined);
    if (common === undefined ? now.text !== shared.text : !shared.take(now.text, common)) {
      told.apart();
      return;
    }
    told.saved(now.revision, now.text);
    tellSaved(now);
  };
  // What cannot be read now is compared when a draft is kept.
  reconcile().catch(() => undefined);

  const leave = () => removeAwarenessStates(awareness, [doc.clientID], 'leaving');
  addEventListener('pagehide', leave);
  return {
    people: () => people,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    show: (place) => {
      const { selection, ...rest } = place;
      Object.assign(mine, rest, selection && { selection: selection.map((each) => shared.keys.get(each)).filter((each) => each !== undefined) });
      put();
    },
    name: () => String(mine['name']),
    rename: (name) => {
      mine['name'] = name;
      put();
      try {
        localStorage.setItem(NAME, name);
      } catch {
        // It is the name of this page, then.
      }
      for (const listener of listeners) listener();
    },
    tellSaved,
    close: () => {
      if (isClosed) return;
      isClosed = true;
      removeEventListener('pagehide', leave);
      leave();
      tabs();
      unbind();
      awareness.destroy();
      store?.destroy().catch(() => undefined);
      doc.destroy();
    },
  };
}

