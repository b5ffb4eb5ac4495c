import { useCallback, useMemo, useReducer } from 'react';

import { read, type Read } from '../model/document';
import { begin, change, redo, undo, type History } from '../model/history';

type Act =
  | { kind: 'change'; text: string; label: string; now: number; about: string | undefined }
  | { kind: 'undo' }
  | { kind: 'redo' }
  | { kind: 'reset'; text: string };

function reduce(history: History, act: Act): History {
  switch (act.kind) {
    case 'change':
      return change(history, act.text, act.label, act.now, act.about);
    case 'undo':
      return undo(history);
    case 'redo':
      return redo(history);
    case 'reset':
      return begin(act.text);
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
  reset: (text: string) => void;
}

export function useDocument(first: string): DocumentState {
  const [history, act] = useReducer(reduce, first, begin);
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
    reset: useCallback((text: string) => act({ kind: 'reset', text }), []),
  };
}
