import { IndexeddbPersistence } from 'y-indexeddb';
import { Awareness, removeAwarenessStates } from 'y-protocols/awareness';
import * as Y from 'yjs';

import { numberOf, type Shared } from '../model/shared';
import { current } from '../sign-in/session';
import { COLOURS, NOBODY, type Person, type Place } from './people';
import { bind, contentOf, firstState, isBlank, lineOf, onSaved, savedOf, setSaved } from './replica';
import { join, type Standing } from './room';
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
  /** How it stands with people in other browsers. */
  standing: () => Standing;
  /**
   * Waits until the others are joined. Answers whether what they kept may be taken over as a text: not while they are away,
   * for then it comes with the rest when they are back, and would be there twice.
   */
  settled: () => Promise<boolean>;
  /** Tells others that a text is on the server. */
  tellSaved: (kept: Kept) => void;
  close: () => void;
}

/** How long the copy in this browser is waited for, in milliseconds. */
const PATIENCE = 2_000;
/** How long others are waited for, in milliseconds. */
const JOINING = 3_000;
/** How long it takes at most, in milliseconds, until others hear that a draft was kept. */
const MOMENT = 400;
const NAME = 'apg.name';

const guest = () => `Guest ${1 + Math.floor(Math.random() * 99)}`;

function knownName(): string {
  try {
    const known = localStorage.getItem(NAME);
    if (known) return known;
    const made = current()?.principal?.name ?? guest();
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

/** The name of the copy in this browser. It changes when the document is given up for another one. */
function placeOf(id: string): string {
  try {
    const at = localStorage.getItem(`apg.room.${id}`);
    return at === null ? `apg.room.${id}` : `apg.room.${id}.${at}`;
  } catch {
    return `apg.room.${id}`;
  }
}

function newPlace(id: string): string {
  try {
    localStorage.setItem(`apg.room.${id}`, guest().replace(/\D/g, '') + Date.now().toString(36));
  } catch {
    // The next time, it is given up again.
  }
  return placeOf(id);
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

/** A document with all that hangs on it. */
interface Copy {
  doc: Y.Doc;
  awareness: Awareness;
  store: IndexeddbPersistence | undefined;
  leave: () => void;
}

/** Shares a document: with the copy in this browser, with its other tabs, and with the people they are of. */
export async function share(id: string, shared: Shared, base: string, kept: Kept, told: Told): Promise<Session> {
  const listeners = new Set<() => void>();
  const tell = () => {
    for (const listener of listeners) listener();
  };
  let isClosed = false;
  let people: readonly Person[] = NOBODY;
  const mine: Record<string, unknown> = { name: knownName(), colour: Math.floor(Math.random() * COLOURS), selection: [] };
  const idOf = (key: string) => [...shared.keys].find(([, each]) => each === key)?.[0];

  /** A browser that keeps nothing more has said so already. */
  const keep = (name: string, value: unknown) => void copy.store?.set(name, value as never).catch(() => undefined);
  /** What the server has, as far as it is known here. */
  let latest: Kept;
  const remember = (of: Kept) => {
    latest = of;
    keep('saved', of);
  };
  const enter = (doc: Y.Doc, awareness: Awareness, store: IndexeddbPersistence | undefined): Copy => {
    const unbind = bind(shared, doc);
    const look = () => {
      people = [...awareness.getStates()].flatMap(([client, state]) => (client === doc.clientID ? [] : (personOf(client, state, idOf) ?? [])));
      tell();
    };
    awareness.on('change', look);
    awareness.setLocalState({ ...mine });
    onSaved(doc, (saved) => {
      const text = shared.remembered((each) => numberOf(each) === saved.text);
      if (text !== undefined) remember({ text, revision: saved.revision });
      told.saved(saved.revision, text);
    });
    const tabs = overTabs(`apg.room.${id}.${lineOf(doc)}`, doc, awareness);
    return {
      doc,
      awareness,
      store,
      leave: () => {
        awareness.off('change', look);
        removeAwarenessStates(awareness, [doc.clientID], 'leaving');
        tabs();
        unbind();
      },
    };
  };
  const end = ({ awareness, doc }: Pick<Copy, 'awareness' | 'doc'>) => {
    awareness.destroy();
    doc.destroy();
  };

  const doc = new Y.Doc();
  const store = await stored(placeOf(id), doc);
  const had = (await store?.get('saved')) as Kept | undefined;
  const isNew = isBlank(doc);
  // A document that was never in its room, and to which texts of others were added, does not go there: they are there already.
  const mayJoin = isNew || (await store?.get('joined')) === true;
  if (isNew) Y.applyUpdate(doc, firstState(base));
  shared.adopt(contentOf(doc), base, shared.steps(), Date.now());
  latest = isNew ? kept : (had ?? kept);
  let copy = enter(doc, new Awareness(doc), store);

  const tellSaved = (of: Kept) => {
    setSaved(copy.doc, { revision: of.revision, text: numberOf(of.text) });
    remember(of);
  };

  let standing: Standing = 'joining';
  let wasLive = false;
  let leaveRoom: (() => void) | undefined;
  let leaveComing = () => {};
  const stand = (now: Standing) => {
    // Until there was a connection, none is lost.
    if (isClosed || (now === 'away' && !wasLive)) return;
    wasLive ||= now === 'live';
    standing = now;
    if (now === 'live') keep('joined', true);
    tell();
  };
  /** Goes on with the document of the room; what was done here and is not kept is done there, too. */
  const swap = (next: Y.Doc, awareness: Awareness) => {
    if (isBlank(next)) Y.applyUpdate(next, Y.encodeStateAsUpdate(copy.doc));
    const before = copy;
    before.leave();
    shared.adopt(contentOf(next), latest.text, { past: [], future: [] }, Date.now());
    copy = enter(next, awareness, undefined);
    end(before);
    const entered = copy;
    // Another tab may still have the old one open; it goes with that.
    before.store?.clearData().catch(() => undefined);
    void stored(newPlace(id), next).then((found) => {
      if (isClosed || copy !== entered) return found?.destroy();
      entered.store = found;
      keep('joined', true);
      keep('saved', latest);
      return undefined;
    });
  };
  /** Joins the room with an empty document, and takes that over once it is filled. */
  const move = (line: number) => {
    leaveRoom?.();
    const next = new Y.Doc();
    const awareness = new Awareness(next);
    const unused = leaveComing;
    leaveComing = () => {
      if (copy.doc !== next) end({ awareness, doc: next });
    };
    unused();
    leaveRoom = join(id, line, next, awareness, {
      standing: (now) => {
        if (now === 'live' && copy.doc !== next) swap(next, awareness);
        stand(now);
      },
      otherLine: move,
    });
  };
  if (mayJoin) leaveRoom = join(id, lineOf(doc), doc, copy.awareness, { standing: stand, otherLine: move });
  else move(lineOf(doc));
  if (!leaveRoom) standing = 'alone';

  const settled = async () => {
    const isSettled = () => isClosed || standing === 'live' || standing === 'alone' || standing === 'barred';
    if (!isSettled()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, JOINING);
        function look() {
          if (isSettled()) done();
        }
        function done() {
          clearTimeout(timer);
          listeners.delete(look);
          resolve();
        }
        listeners.add(look);
      });
    }
    if (isSettled()) return true;
    if (wasLive) return false;
    // There is no way from here to the room: people share drafts.
    leaveRoom?.();
    leaveRoom = undefined;
    keep('joined', false);
    stand('alone');
    return true;
  };

  /** Takes over what the server has and this document never saw, such as what came in through the API. */
  const reconcile = async () => {
    const isKnown = (text: string) => numberOf(text) === (savedOf(copy.doc)?.text ?? numberOf(had?.text ?? kept.text));
    if (isKnown(kept.text)) {
      remember(kept);
      return;
    }
    if (!(await settled())) return;
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

  const put = () => copy.awareness.setLocalState({ ...mine });
  const leave = () => removeAwarenessStates(copy.awareness, [copy.doc.clientID], 'leaving');
  addEventListener('pagehide', leave);
  return {
    people: () => people,
    standing: () => standing,
    settled,
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
      tell();
    },
    tellSaved,
    close: () => {
      if (isClosed) return;
      isClosed = true;
      removeEventListener('pagehide', leave);
      copy.leave();
      leaveRoom?.();
      leaveComing();
      copy.store?.destroy().catch(() => undefined);
      end(copy);
    },
  };
}
