import type { Awareness } from 'y-protocols/awareness';
import { WebsocketProvider } from 'y-websocket';
import type * as Y from 'yjs';

import { signedIn } from '../sign-in/guard';

/** How it stands with people in other browsers. */
export type Standing =
  /** They are being joined. */
  | 'joining'
  /** Each change reaches them, and theirs come here. */
  | 'live'
  /** The connection is lost, and is being made again. */
  | 'away'
  /** There is no room for this document: they are seen when they keep a draft. */
  | 'alone'
  /** The right to open this document was lost. What was done here stays here. */
  | 'barred';

export interface Told {
  standing: (now: Standing) => void;
  /** The document of the room has another beginning. */
  otherLine: (line: number) => void;
}

/** The server's codes for what a new connection does not cure (see the designer's guide). */
const SESSION_ENDED = 4401;
const BARRED = 4403;
const OTHER_LINE = 4409;
/** How often a room is joined again after signing in, before it is given up. */
const TIMES = 3;
const isFinal = (code: number) => code === 1009 || (code >= 4400 && code < 4500);

/**
 * Shares a document with people in other browsers, through its room on the server. Ends with the answer; undefined where
 * there is no network to have.
 */
export function join(id: string, line: number, doc: Y.Doc, awareness: Awareness, told: Told): (() => void) | undefined {
  if (!('WebSocket' in globalThis) || !('location' in globalThis)) return undefined;
  const url = `${location.origin.replace(/^http/, 'ws')}/api/v1/workflows/${encodeURIComponent(id)}/draft`;
  const provider = new WebsocketProvider(url, 'room', doc, {
    awareness,
    connect: false,
    // Tabs of one browser have a channel of their own, which works without the server, too.
    disableBc: true,
    params: { line: String(line) },
    shouldReconnect: ({ code }) => !isFinal(code),
  });
  let isLeft = false;
  let times = 0;
  /** Joins again after signing in. A server that goes on saying that nobody is signed in is not asked without end. */
  const again = () => {
    times += 1;
    if (isLeft) return;
    if (times <= TIMES) provider.connect();
    else told.standing('alone');
  };
  // It would say again what it hears of others, and each of them would do so: only what is said of this person goes out.
  const sayAll = provider._awarenessUpdateHandler;
  const say = ({ added, updated, removed }: Record<'added' | 'updated' | 'removed', number[]>, origin: unknown) => {
    if ([...added, ...updated, ...removed].includes(doc.clientID)) sayAll({ added: [], updated: [doc.clientID], removed: [] }, origin);
  };
  awareness.off('update', sayAll);
  awareness.on('update', say);
  provider.on('sync', (isSynced) => {
    if (!isSynced) return;
    times = 0;
    told.standing('live');
  });
  provider.on('status', ({ status }) => {
    if (status === 'disconnected') told.standing('away');
    if (status === 'connecting') return;
    // Said anew, so that those count it who have heard that this person is gone.
    const state = awareness.getLocalState();
    if (state !== null) awareness.setLocalState(state);
  });
  provider.on('closed', ({ code, reason }) => {
    const other = Number.parseInt(reason, 10);
    if (code === OTHER_LINE && Number.isFinite(other)) told.otherLine(other);
    else if (code === SESSION_ENDED) {
      told.standing('away');
      void signedIn().then(again);
    } else if (code === BARRED) told.standing('barred');
    else told.standing('alone');
  });
  // A connection that is lost may look alive for half a minute; the browser knows at once.
  const lost = () => provider.disconnect();
  const back = () => provider.connect();
  addEventListener('offline', lost);
  addEventListener('online', back);
  provider.connect();
  return () => {
    isLeft = true;
    removeEventListener('offline', lost);
    removeEventListener('online', back);
    awareness.off('update', say);
    provider.destroy();
  };
}
