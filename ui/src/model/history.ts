/** Texts a document had, to go back and forth between. */
export interface History {
  past: readonly Entry[];
  present: string;
  future: readonly Entry[];
  /** What the last change was about and when: changes of one field in a row are one step. */
  last: { about: string; at: number } | undefined;
}

interface Entry {
  text: string;
  /** What was done between this text and the one after it. */
  label: string;
}

/** Steps that are kept. */
const LIMIT = 200;
/** Changes of the same thing closer together than this, in milliseconds, are one step. */
const TOGETHER = 1_200;

export function begin(text: string): History {
  return { past: [], present: text, future: [], last: undefined };
}

/** A change. `about` names the field that is typed into; without it the change is a step of its own. */
export function change(history: History, text: string, label: string, now: number, about?: string): History {
  if (text === history.present) return history;
  const joins = about !== undefined && history.last?.about === about && now - history.last.at < TOGETHER;
  return {
    past: joins ? history.past : [...history.past, { text: history.present, label }].slice(-LIMIT),
    present: text,
    future: [],
    last: about === undefined ? undefined : { about, at: now },
  };
}

export function undo(history: History): History {
  const step = history.past[history.past.length - 1];
  if (!step) return history;
  return {
    past: history.past.slice(0, -1),
    present: step.text,
    future: [{ text: history.present, label: step.label }, ...history.future],
    last: undefined,
  };
}

export function redo(history: History): History {
  const step = history.future[0];
  if (!step) return history;
  return {
    past: [...history.past, { text: history.present, label: step.label }],
    present: step.text,
    future: history.future.slice(1),
    last: undefined,
  };
}
