import { applyAwarenessUpdate, encodeAwarenessUpdate, type Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';

type Message =
  /** Somebody opened it, and has this. */
  | { kind: 'ask'; vector: Uint8Array }
  /** What they did not have, and what the one who answers has. */
  | { kind: 'answer'; update: Uint8Array; vector: Uint8Array }
  | { kind: 'update'; update: Uint8Array }
  | { kind: 'people'; update: Uint8Array };

/** Shares a document with the other tabs of this browser, also while there is no network. Ends with the answer. */
export function overTabs(name: string, doc: Y.Doc, awareness: Awareness): () => void {
  if (!('BroadcastChannel' in globalThis)) return () => undefined;
  const channel = new BroadcastChannel(name);
  const send = (message: Message) => channel.postMessage(message);
  const everybody = () => send({ kind: 'people', update: encodeAwarenessUpdate(awareness, [...awareness.getStates().keys()]) });
  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    switch (data.kind) {
      case 'ask': {
        send({ kind: 'answer', update: Y.encodeStateAsUpdate(doc, data.vector), vector: Y.encodeStateVector(doc) });
        everybody();
        return;
      }
      case 'answer':
        Y.applyUpdate(doc, data.update, channel);
        send({ kind: 'update', update: Y.encodeStateAsUpdate(doc, data.vector) });
        return;
      case 'update':
        Y.applyUpdate(doc, data.update, channel);
        return;
      case 'people':
        applyAwarenessUpdate(awareness, data.update, channel);
    }
  };
  const onUpdate = (update: Uint8Array, origin: unknown) => {
    if (origin !== channel) send({ kind: 'update', update });
  };
  const onPeople = ({ added, updated, removed }: Record<'added' | 'updated' | 'removed', number[]>, origin: unknown) => {
    if (origin !== channel) send({ kind: 'people', update: encodeAwarenessUpdate(awareness, [...added, ...updated, ...removed]) });
  };
  doc.on('update', onUpdate);
  awareness.on('update', onPeople);
  send({ kind: 'ask', vector: Y.encodeStateVector(doc) });
  everybody();
  return () => {
    doc.off('update', onUpdate);
    awareness.off('update', onPeople);
    channel.close();
  };
}
