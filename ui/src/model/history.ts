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

/** A text as what is different from another: `cut` characters at `at` are replaced by `put`. */
type Patch = [at: number, cut: number, put: string, label: string];

/** A history as it is kept where there is little room: each text as what is different from the one nearer to the present. */
export interface Packed {
  present: string;
  past: Patch[];
  future: Patch[];
}

/** Steps that are kept over a reload, to each side, and characters of all of them together. */
const PACKED = { steps: 50, characters: 400_000 };

function difference(from: string, to: string, label: string): Patch {
  let at = 0;
  const most = Math.min(from.length, to.length);
  while (at < most && from[at] === to[at]) at += 1;
  let same = 0;
  while (same < most - at && from[from.length - 1 - same] === to[to.length - 1 - same]) same += 1;
  return [at, from.length - at - same, to.slice(at, to.length - same), label];
}

const applied = (text: string, [at, cut, put]: Patch) => text.slice(0, at) + put + text.slice(at + cut);

/** Packs the newest steps, as many as there is room for. */
export function pack(history: History): Packed {
  let left = PACKED.characters;
  const side = (entries: readonly Entry[]): Patch[] => {
    const patches: Patch[] = [];
    let from = history.present;
    for (const { text, label } of entries.slice(0, PACKED.steps)) {
      const patch = difference(from, text, label);
      left -= patch[2].length;
      if (left < 0) break;
      patches.push(patch);
      from = text;
    }
    return patches;
  };
  return { present: history.present, past: side([...history.past].reverse()), future: side(history.future) };
}

const isPatch = (value: unknown): value is Patch =>
  Array.isArray(value) && typeof value[0] === 'number' && typeof value[1] === 'number' && typeof value[2] === 'string' && typeof value[3] === 'string';

/** Reads what [pack] wrote, when it is of the text there is now; nothing otherwise. */
export function unpack(packed: unknown, present: string): History | undefined {
  if (typeof packed !== 'object' || packed === null) return undefined;
  const { present: was, past, future } = packed as Partial<Packed>;
  if (was !== present || !Array.isArray(past) || !Array.isArray(future) || ![...past, ...future].every(isPatch)) return undefined;
  const side = (patches: Patch[]): Entry[] => {
    let text = present;
    return patches.map((patch) => ({ text: (text = applied(text, patch)), label: patch[3] }));
  };
  return { past: side(past).reverse(), present, future: side(future), last: undefined };
}
