import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate } from 'y-protocols/awareness';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import * as Y from 'yjs';

import { join, type Standing } from './room';

// Whoever is asked to sign in does so at once.
vi.mock('../sign-in/guard', () => ({ signedIn: () => Promise.resolve() }));
// What y-websocket reads the time with is taken when it is loaded: the clock is ours from before that.
vi.hoisted(() => vi.useFakeTimers());

/** The messages of the protocol: the kind, for a document what is said of it, and bytes that tell their length. */
const SYNC = 0;
const PEOPLE = 1;
const HAVE = 0;
const LACKED = 1;
const UPDATE = 2;

function message(kind: readonly number[], content: Uint8Array): Uint8Array {
  const length: number[] = [];
  let left = content.length;
  for (; left > 127; left >>>= 7) length.push((left & 127) | 128);
  return Uint8Array.from([...kind, ...length, left, ...content]);
}

/** Reads numbers, and bytes that tell their length, one after the other. */
function reading(bytes: Uint8Array) {
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let by = 1; ; by *= 128) {
      const byte = bytes[at] ?? 0;
      at += 1;
      value += (byte & 127) * by;
      if (byte < 128) return value;
    }
  };
  const content = (): Uint8Array => {
    const length = number();
    at += length;
    return bytes.slice(at - length, at);
  };
  return { number, content };
}

/** The room as a server has it: a document, who is in it, and a socket to each of them. */
class Room {
  readonly doc = new Y.Doc();
  readonly awareness = new Awareness(this.doc);
  readonly sockets: Socket[] = [];
  /** What was said of people, by anybody: the numbers of the clients it was about. */
  readonly said: number[][] = [];

  constructor() {
    this.awareness.setLocalState(null);
    this.doc.on('update', (update: Uint8Array, origin: unknown) => {
      for (const socket of this.open) if (socket !== origin) socket.tell(message([SYNC, UPDATE], update));
    });
  }

  get open(): Socket[] {
    return this.sockets.filter((each) => each.readyState === Socket.OPEN);
  }
  get last(): Socket {
    const found = this.sockets.at(-1);
    if (!found) throw new Error('nobody has asked for a connection');
    return found;
  }

  /** Lets in who asked last, and asks them for what they have. */
  admit(): Socket {
    const socket = this.last;
    socket.readyState = Socket.OPEN;
    socket.onopen?.();
    socket.tell(message([SYNC, HAVE], Y.encodeStateVector(this.doc)));
    return socket;
  }

  hear(socket: Socket, said: Uint8Array): void {
    const { number, content } = reading(said);
    if (number() === PEOPLE) {
      const update = content();
      const inside = reading(update);
      const about: number[] = [];
      for (let left = inside.number(); left > 0; left -= 1) {
        about.push(inside.number());
        inside.number(); // Its clock.
        inside.content(); // Its state.
      }
      this.said.push(about);
      applyAwarenessUpdate(this.awareness, update, socket);
      return;
    }
    if (number() === HAVE) socket.tell(message([SYNC, LACKED], Y.encodeStateAsUpdate(this.doc, content())));
    else Y.applyUpdate(this.doc, content(), socket);
  }

  /** Tells everybody of somebody. */
  show(awareness: Awareness): void {
    for (const socket of this.open) socket.tell(message([PEOPLE], encodeAwarenessUpdate(awareness, [awareness.clientID])));
  }
}

let room: Room;

/** A connection that opens and closes when the room says so. */
class Socket {
  static readonly OPEN = 1;
  readonly OPEN = Socket.OPEN;
  binaryType = '';
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;

  constructor(readonly url: string) {
    room.sockets.push(this);
  }
  send(said: Uint8Array): void {
    room.hear(this, said.slice());
  }
  tell(said: Uint8Array): void {
    this.onmessage?.({ data: said.slice().buffer });
  }
  close(): void {
    this.readyState = 3;
  }
  /** Closed by the room, or by what is between. */
  drop(code: number, reason = ''): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** What a page is told of its network. */
let network: EventTarget;
const leaving: (() => void)[] = [];

beforeEach(() => {
  room = new Room();
  network = new EventTarget();
  vi.stubGlobal('WebSocket', Socket);
  vi.stubGlobal('location', { origin: 'https://apg.example' });
  vi.stubGlobal('addEventListener', network.addEventListener.bind(network));
  vi.stubGlobal('removeEventListener', network.removeEventListener.bind(network));
});
afterEach(() => {
  for (const leave of leaving.splice(0)) leave();
  room.awareness.destroy();
  vi.unstubAllGlobals();
  vi.clearAllTimers();
});

/** Somebody who opens the document. */
function enter(begin?: (doc: Y.Doc) => void, line = 7) {
  const doc = new Y.Doc();
  begin?.(doc);
  const awareness = new Awareness(doc);
  const standing: Standing[] = [];
  const lines: number[] = [];
  const leave = join('a b', line, doc, awareness, { standing: (now) => standing.push(now), otherLine: (other) => lines.push(other) });
  if (!leave) throw new Error('there is a network, and it was not joined');
  let isGone = false;
  const go = () => {
    if (isGone) return;
    isGone = true;
    leave();
    awareness.destroy();
  };
  leaving.push(go);
  return { doc, awareness, standing, lines, leave: go, text: (name: string) => doc.getMap<string>('registers').get(name), set: (name: string, value: string) => doc.getMap<string>('registers').set(name, value) };
}

const there = (name: string) => room.doc.getMap<string>('registers').get(name);

it('joins the room of its document and of its beginning, and both have what either had', () => {
  room.doc.getMap<string>('registers').set('theirs', 'there before');
  const page = enter((doc) => doc.getMap<string>('registers').set('mine', 'here before'));
  expect(room.last.url).toBe('wss://apg.example/api/v1/workflows/a%20b/draft/room?line=7');
  expect(page.standing).toEqual([]);

  room.admit();
  expect(page.standing).toEqual(['live']);
  expect(page.text('theirs')).toBe('there before');
  expect(there('mine')).toBe('here before');
});

it('brings each change to the others at once, without a timer', () => {
  const one = enter();
  room.admit();
  const second = enter();
  room.admit();
  one.set('title', 'from one');
  expect(second.text('title')).toBe('from one');
  second.set('title', 'from the other');
  expect(one.text('title')).toBe('from the other');
});

it('merges what was done on both sides while the connection was lost', () => {
  const page = enter();
  room.admit().drop(1006);
  expect(page.standing).toEqual(['live', 'away']);
  page.set('mine', 'done offline');
  room.doc.getMap<string>('registers').set('theirs', 'done meanwhile');
  expect(there('mine')).toBeUndefined();

  vi.advanceTimersByTime(200);
  room.admit();
  expect(page.standing.at(-1)).toBe('live');
  expect(page.text('theirs')).toBe('done meanwhile');
  expect(there('mine')).toBe('done offline');
});

it('waits longer before each further attempt, to an end, and begins anew once it was joined', () => {
  enter();
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 7; attempt += 1) {
    const before = room.sockets.length;
    room.last.drop(1006);
    let waited = 0;
    for (; room.sockets.length === before; waited += 100) vi.advanceTimersByTime(100);
    pauses.push(waited);
  }
  expect(pauses).toEqual([200, 400, 800, 1_600, 2_500, 2_500, 2_500]);

  const before = room.sockets.length;
  room.admit().drop(1006);
  vi.advanceTimersByTime(200);
  expect(room.sockets.length).toBe(before + 1);
});

it.each([1000, 1001, 1006, 1011, 1012, 1013, 4500, 4503])('tries again after a close with %i, which may pass', (code) => {
  const page = enter();
  room.admit().drop(code);
  vi.advanceTimersByTime(200);
  expect(room.sockets.length).toBe(2);
  expect(page.standing).toEqual(['live', 'away']);
});

it.each([1009, 4400, 4404, 4499])('stays alone after a close with %i, which no new connection cures', (code) => {
  const page = enter();
  room.admit().drop(code);
  vi.advanceTimersByTime(3_600_000);
  expect(room.sockets.length).toBe(1);
  expect(page.standing.at(-1)).toBe('alone');
  expect(page.lines).toEqual([]);
});

it('is barred by a close with 4403, and does not ask again', () => {
  const page = enter();
  room.admit().drop(4403);
  vi.advanceTimersByTime(3_600_000);
  expect(room.sockets.length).toBe(1);
  expect(page.standing.at(-1)).toBe('barred');
});

it('joins again after a close with 4401 when somebody has signed in, but not without end', async () => {
  const page = enter();
  room.admit().drop(4401);
  await vi.advanceTimersByTimeAsync(0);
  expect(room.sockets.length).toBe(2);
  room.admit();
  expect(page.standing.at(-1)).toBe('live');
  for (let time = 0; time < 10; time += 1) {
    room.last.drop(4401);
    await vi.advanceTimersByTimeAsync(0);
  }
  expect(page.standing.at(-1)).toBe('alone');
  expect(room.sockets.length).toBeLessThan(8);
});

it('says which beginning the room has, and does not come back with another one', () => {
  const page = enter(undefined, 3);
  room.last.drop(4409, '99');
  vi.advanceTimersByTime(3_600_000);
  expect(page.lines).toEqual([99]);
  expect(room.sockets.length).toBe(1);
  expect(page.standing).toEqual([]);
});

it('stays alone when the room has another beginning and does not say which', () => {
  const page = enter();
  room.last.drop(4409, 'gone');
  expect(page.lines).toEqual([]);
  expect(page.standing).toEqual(['alone']);
});

it('says only what it knows of its own person, and says that again after a connection was lost', () => {
  const page = enter();
  room.admit();
  page.awareness.setLocalState({ name: 'Ada' });
  expect(room.awareness.getStates().get(page.doc.clientID)).toEqual({ name: 'Ada' });

  const other = new Awareness(new Y.Doc());
  other.setLocalState({ name: 'Grace' });
  const before = room.said.length;
  room.show(other);
  expect(page.awareness.getStates().get(other.clientID)).toEqual({ name: 'Grace' });
  expect(room.said.length).toBe(before);

  room.last.drop(1006);
  // Who is in the room is not known any more.
  expect([...page.awareness.getStates().keys()]).toEqual([page.doc.clientID]);
  vi.advanceTimersByTime(200);
  const lost = room.said.length;
  room.admit();
  expect(room.said.slice(lost).length).toBeGreaterThan(0);
  expect(new Set(room.said.flat())).toEqual(new Set([page.doc.clientID]));
  other.destroy();
});

it('says before the others give a silent person up that they are still there', () => {
  const page = enter();
  room.admit();
  page.awareness.setLocalState({ name: 'Ada' });
  const before = room.said.length;
  vi.advanceTimersByTime(20_000);
  // Who says nothing for half a minute is taken to be gone.
  expect(room.said.length).toBeGreaterThan(before);
  expect(room.awareness.getStates().get(page.doc.clientID)).toEqual({ name: 'Ada' });
});

it('gives a connection up that nothing came through, though it was never closed', () => {
  const page = enter();
  room.admit();
  vi.advanceTimersByTime(60_000);
  expect(page.standing).toEqual(['live', 'away']);
  expect(room.sockets.length).toBeGreaterThan(1);
});

it('lets go at once when the browser has lost its network, and comes back with it', () => {
  const page = enter();
  room.admit();
  network.dispatchEvent(new Event('offline'));
  expect(page.standing).toEqual(['live', 'away']);
  page.set('mine', 'done offline');
  vi.advanceTimersByTime(60_000);
  expect(room.sockets.length).toBe(1);

  network.dispatchEvent(new Event('online'));
  room.admit();
  expect(page.standing.at(-1)).toBe('live');
  expect(there('mine')).toBe('done offline');
});

it('takes its person out of the room when it is left, and says and hears nothing more', () => {
  const page = enter();
  const socket = room.admit();
  page.awareness.setLocalState({ name: 'Ada' });
  page.leave();
  expect(socket.readyState).toBe(3);
  const said = room.said.length;
  page.set('after', 'left');
  network.dispatchEvent(new Event('online'));
  vi.advanceTimersByTime(3_600_000);
  expect(there('after')).toBeUndefined();
  expect(room.said.length).toBe(said);
  expect(room.sockets.length).toBe(1);
});

it('is not there where there is no network to have', () => {
  Reflect.deleteProperty(globalThis, 'WebSocket');
  const doc = new Y.Doc();
  const awareness = new Awareness(doc);
  expect(join('x', 1, doc, awareness, { standing: () => undefined, otherLine: () => undefined })).toBeUndefined();
  awareness.destroy();
});
