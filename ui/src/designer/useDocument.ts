import { useCallback, useEffect, useMemo, useReducer, useRef } from 'react';

import { read, type Read } from '../model/document';
import { begin, change, pack, redo, undo, unpack, type History } from '../model/history';

type Act =
  | { kind: 'change'; text: string; label: string; now: number; about: string | undefined }
  | { kind: 'undo' }
  | { kind: 'redo' };

function reduce(history: History, act: Act): History {
  switch (act.kind) {
    case 'change':
      return change(history, act.text, act.label, act.now, act.about);
    case 'undo':
      return undo(history);
    case 'redo':
      return redo(history);
  }
}

/** The document being drawn: one text, read, with its history. */
export interface DocumentState {
  read: Read;
  history: History;
  /** Takes a new text. `about` names a field that is typed into, so that its changes are one step. */
  put: (text: string, label: string, about?: string) => void;
  undo: () => void;
  redo: () => void;
}

const storageKey = (id: string) => `apg.history.${id}`;

/** The steps that were kept before a reload, when they are of this text. */
function restored(id: string, text: string): History {
  try {
    return unpack(JSON.parse(sessionStorage.getItem(storageKey(id)) ?? 'null'), text) ?? begin(text);
  } catch {
    return begin(text); // Not ours, or cut off: without the steps there is still the text.
  }
}

function keep(id: string, history: History): void {
  try {
    sessionStorage.setItem(storageKey(id), JSON.stringify(pack(history)));
  } catch {
    // There is no room. Steps of an older text would be wrong, so there are none.
    sessionStorage.removeItem(storageKey(id));
  }
}

/** How long a document rests before its steps are kept, in milliseconds. */
const REST = 500;

/** The document `id` of this browser tab. Its steps can be undone after a reload, too. */
export function useDocument(id: string, first: string): DocumentState {
  const [history, act] = useReducer(reduce, first, (text) => restored(id, text));
  const latest = useRef(history);
  latest.current = history;
  useEffect(() => {
    const timer = setTimeout(() => keep(id, history), REST);
    return () => clearTimeout(timer);
  }, [id, history]);
  useEffect(() => {
    const leave = () => keep(id, latest.current);
    addEventListener('pagehide', leave);
    return () => {
      removeEventListener('pagehide', leave);
      leave();
    };
  }, [id]);
  const known = useMemo(() => read(history.present), [history.present]);
  const put = useCallback(
    (text: string, label: string, about?: string) => act({ kind: 'change', text, label, now: Date.now(), about }),
    [],
  );
  return {
    read: known,
    history,
    put,
    undo: useCallback(() => act({ kind: 'undo' }), []),
    redo: useCallback(() => act({ kind: 'redo' }), []),
  };
}
