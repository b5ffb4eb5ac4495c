import { startTransition, useCallback, useEffect, useMemo, useState, useSyncExternalStore } from 'react';

import { read, type Read } from '../model/document';
import { restored, Shared } from '../model/shared';
import { say } from '../ui/notify';

/** The document being drawn: one text, read, with the steps of whoever draws. */
export interface DocumentState {
  read: Read;
  /** Whether the last change was made here. */
  isOwn: boolean;
  shared: Shared;
  canUndo: boolean;
  canRedo: boolean;
  /** A text that was typed and cannot be read yet: it stays with this person until it can. */
  isPending: boolean;
  /** Takes what an edit of `model/document.ts` made of `base`. `about` names a field, so that its changes are one step. */
  draw: (text: string, base: string, label: string, about?: string) => void;
  /** Takes a text that somebody wrote, who had `base` before them. */
  put: (text: string, base: string, label: string, about?: string) => void;
  undo: () => void;
  redo: () => void;
}

interface Pending {
  text: string;
  /** What it was made of: what others change meanwhile is not in it, and stays. */
  base: string;
}

const stepsKey = (id: string) => `apg.steps.${id}`;
const pendingKey = (id: string) => `apg.pending.${id}`;

/** The document and the steps that were kept before a reload, when they are of this text. */
function begin(id: string, text: string): Shared {
  try {
    return restored(JSON.parse(sessionStorage.getItem(stepsKey(id)) ?? 'null'), text) ?? new Shared(text);
  } catch {
    return new Shared(text); // Not ours, or cut off: without the steps there is still the text.
  }
}

function keep(id: string, shared: Shared): void {
  try {
    const packed = shared.pack();
    if (packed) sessionStorage.setItem(stepsKey(id), JSON.stringify(packed));
  } catch {
    // There is no room. Steps of an older text would be wrong, so there are none.
    sessionStorage.removeItem(stepsKey(id));
  }
}

function keptPending(id: string): Pending | undefined {
  try {
    const { text, base } = (JSON.parse(localStorage.getItem(pendingKey(id)) ?? 'null') ?? {}) as Partial<Pending>;
    return typeof text === 'string' && typeof base === 'string' ? { text, base } : undefined;
  } catch {
    return undefined;
  }
}

/** Forgets what was typed and could never be read. */
export function forgetPending(id: string): void {
  localStorage.removeItem(pendingKey(id));
}

function pendingRead(text: string): Read {
  const found = read(text);
  // It is YAML and no workflow: nothing to draw, and nothing to share with others.
  return found.mistake ? found : { ...found, mistake: { message: 'a workflow is keys with values, each key on a line of its own', line: 1, column: 1 } };
}

const OVERTAKEN = 'Somebody else has changed that since; it stays as it is.';

/** How long a document rests before its steps are kept, in milliseconds. */
const REST = 500;

/** The document `id` as this browser tab has it. Its steps can be undone after a reload, too. */
export function useDocument(id: string, first: string): DocumentState {
  const [shared] = useState(() => begin(id, first));
  const sight = useSyncExternalStore(shared.subscribe, shared.see);
  const [pending, setPending] = useState(() => keptPending(id));

  useEffect(() => {
    const timer = setTimeout(() => keep(id, shared), REST);
    return () => clearTimeout(timer);
  }, [id, shared, sight]);
  useEffect(() => {
    const leave = () => keep(id, shared);
    addEventListener('pagehide', leave);
    return () => {
      removeEventListener('pagehide', leave);
      leave();
    };
  }, [id, shared]);
  useEffect(() => {
    try {
      if (pending) localStorage.setItem(pendingKey(id), JSON.stringify(pending));
      else forgetPending(id);
    } catch {
      // There is no room: it stays on the page, which asks before it is left.
    }
    if (!pending) return undefined;
    const leave = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener('beforeunload', leave);
    return () => removeEventListener('beforeunload', leave);
  }, [id, pending]);

  const known = useMemo(() => (pending ? pendingRead(pending.text) : sight.read), [pending, sight.read]);
  const draw = useCallback(
    (text: string, base: string, label: string, about?: string) => {
      if (shared.put(text, base, { now: Date.now(), label, about, isDrawn: true })) return;
      say('That would make a document that cannot be read, so nothing was changed. Try it in the source, which shows where.');
    },
    [shared],
  );
  const put = useCallback(
    (text: string, given: string, label: string, about?: string) => {
      const base = pending?.base ?? given;
      setPending(shared.put(text, base, { now: Date.now(), label, about }) ? undefined : { text, base });
    },
    [shared, pending],
  );
  const undo = useCallback(() => {
    if (pending) setPending(undefined);
    else if (!shared.undo()) say(OVERTAKEN);
  }, [shared, pending]);
  const redo = useCallback(() => {
    if (!shared.redo()) say(OVERTAKEN);
  }, [shared]);
  return {
    read: known,
    isOwn: pending !== undefined || sight.isOwn,
    shared,
    canUndo: pending !== undefined || sight.canUndo,
    canRedo: pending === undefined && sight.canRedo,
    isPending: pending !== undefined,
    draw,
    put,
    undo,
    redo,
  };
}

/**
 * The document for what may be drawn a moment later than the drawing: forms and lists. What somebody else changed comes
 * there once the drawing shows it; what is changed here comes at once, for it may be a letter in one of those forms.
 */
export function useLate({ read, isOwn }: Pick<DocumentState, 'read' | 'isOwn'>): Read {
  const [late, setLate] = useState(read);
  if (isOwn && late !== read) setLate(read);
  useEffect(() => {
    if (!isOwn) startTransition(() => setLate(read));
  }, [read, isOwn]);
  return isOwn ? read : late;
}
