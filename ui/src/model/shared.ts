import { formatted, read, type Read } from './document';
import { changes, compose, seed, type Change, type Composed } from './pieces';

/** What one person did: each register with what it was and became. */
export interface Step {
  label: string;
  changed: [name: string, before: string | undefined, after: string | undefined][];
}

/** The steps of one person, to go back and forth. */
export interface Steps {
  past: readonly Step[];
  future: readonly Step[];
}

/** How a text came to be. */
export interface Act {
  /** When, in milliseconds. */
  now: number;
  /** What to call the step; left out, it is nobody's step. */
  label?: string;
  /** The field that is typed into, so that its changes are one step. */
  about?: string | undefined;
  /** Whether it was made by an edit of `document.ts`, which writes everything in one style: only what it changed counts. */
  isDrawn?: boolean;
  /** Makes the keys of components that are added. */
  fresh?: (id: string) => string;
}

/** What is seen of a shared document. A new object after each change. */
export interface Sight {
  read: Read;
  /** Whether the last change was made here. */
  isOwn: boolean;
  canUndo: boolean;
  canRedo: boolean;
}

/** Steps that are kept. */
const LIMIT = 200;
/** Changes of the same thing closer together than this, in milliseconds, are one step. */
const TOGETHER = 1_200;
/** Texts whose components are remembered, to understand edits of what was shown a moment ago. */
const REMEMBERED = 50;

/** A number made of a text, the same everywhere (FNV-1a). */
export function numberOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

const random = (id: string) => `${id}~${Array.from(crypto.getRandomValues(new Uint8Array(6)), (each) => (each % 36).toString(36)).join('')}`;

/**
 * A document that several people change at once, as one of them has it.
 *
 * It is registers (see `pieces.ts`), the text made of them, and this person's own steps. It knows nothing of how changes
 * travel: `onChange` is told of each change made here, and `receive` takes those of others.
 */
export class Shared {
  /** Made when they are first needed: a document is drawn before it is changed. */
  private state: { registers: Map<string, string>; composed: Composed } | undefined;
  private sight: Sight;
  private past: Step[] = [];
  private future: Step[] = [];
  private last: { about: string; at: number } | undefined;
  private readonly shown = new Map<string, Composed>();
  private readonly listeners = new Set<() => void>();
  /** Told of every change made here. */
  onChange: ((changed: readonly Change[]) => void) | undefined;

  /** @param fresh makes the key of a component that is added: no two may be alike, wherever they are made. */
  constructor(
    private readonly first: string,
    private readonly fresh: (id: string) => string = random,
  ) {
    this.sight = this.look();
  }

  private get now(): { registers: Map<string, string>; composed: Composed } {
    if (!this.state) {
      const registers = seed(this.first);
      // Before anybody has changed it, it is shown to the letter.
      this.state = { registers, composed: { ...compose(registers), text: this.first } };
      this.remember();
    }
    return this.state;
  }
  private get registers(): Map<string, string> {
    return this.now.registers;
  }
  private get composed(): Composed {
    return this.now.composed;
  }
  private set composed(composed: Composed) {
    this.now.composed = composed;
  }

  get text(): string {
    return this.state?.composed.text ?? this.first;
  }
  /** The components there are, by id. */
  get keys(): ReadonlyMap<string, string> {
    return this.composed.keys;
  }
  see = (): Sight => this.sight;
  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private isOwn = true;

  private look(): Sight {
    const before = this.sight?.read;
    return {
      read: before?.text === this.text ? before : read(this.text),
      isOwn: this.isOwn,
      canUndo: this.past.length > 0,
      canRedo: this.future.length > 0,
    };
  }

  private remember(): void {
    if (!this.state) return;
    this.shown.delete(this.composed.text);
    this.shown.set(this.composed.text, this.composed);
    const [oldest] = this.shown.keys();
    if (this.shown.size > REMEMBERED && oldest !== undefined) this.shown.delete(oldest);
  }

  private tell(): void {
    this.sight = this.look();
    for (const listener of this.listeners) listener();
  }

  private apply(changed: readonly Change[]): Step['changed'] {
    const done: Step['changed'] = [];
    for (const [name, value] of changed) {
      const before = this.registers.get(name);
      if (before === value) continue;
      if (value === undefined) this.registers.delete(name);
      else this.registers.set(name, value);
      done.push([name, before, value]);
    }
    if (done.length > 0) {
      this.composed = compose(this.registers);
      this.remember();
    }
    return done;
  }

  /**
   * Makes what is different between `base`, which was shown here, and `text` part of the document. What others changed
   * meanwhile stays. Answers whether the text could be read.
   */
  put(text: string, base: string, act: Act): boolean {
    if (text === base) return true;
    const { now, label, about } = act;
    const keys = this.shown.get(base)?.keys ?? this.composed.keys;
    const changed = changes(this.registers, { text: act.isDrawn ? formatted(base) : base, keys }, text, act.fresh ?? this.fresh);
    if (!changed) return false;
    const done = this.apply(changed);
    if (done.length > 0 && label !== undefined) {
      const joins = about !== undefined && this.last?.about === about && now - this.last.at < TOGETHER;
      const step = joins ? this.past.pop() : undefined;
      this.past = [...this.past, step ? joined(step, done) : { label, changed: done }].slice(-LIMIT);
      this.future = [];
      this.last = about === undefined ? undefined : { about, at: now };
    }
    if (done.length > 0) this.send(done, label !== undefined);
    this.tell();
    return true;
  }

  /** Takes over a text that came from elsewhere, of which `base` was known here. Everybody who does makes the same of it. */
  take(text: string, base: string): boolean {
    return this.put(text, base, { now: 0, fresh: (id) => `${id}~${numberOf(text)}` });
  }

  /** Takes the last step of this person back; what others changed since stays. Answers whether anything was left of it. */
  undo = (): boolean => this.go('past', 'future');
  /** Does again what was taken back last. */
  redo = (): boolean => this.go('future', 'past');

  private go(from: 'past' | 'future', to: 'past' | 'future'): boolean {
    const step = this[from].pop();
    if (!step) return true;
    this.last = undefined;
    const mine = step.changed.filter(([name, , after]) => this.registers.get(name) === after);
    const done = this.apply(mine.map(([name, before]) => [name, before]));
    if (done.length > 0) {
      this[to].push({ label: step.label, changed: done });
      this.send(done);
    }
    this.tell();
    return done.length > 0;
  }

  private send(done: Step['changed'], isOwn = true): void {
    this.isOwn = isOwn;
    this.onChange?.(done.map(([name, , after]) => [name, after]));
  }

  /** Takes changes of others. */
  receive(changed: readonly Change[]): void {
    if (this.apply(changed).length === 0) return;
    this.isOwn = false;
    this.tell();
  }

  /** The registers as they are. */
  entries(): ReadonlyMap<string, string> {
    return this.registers;
  }

  /**
   * Goes on with the registers of others, in which `base` has become something else; what was changed here since
   * `base` is changed there too, as one step after `steps`.
   */
  adopt(registers: ReadonlyMap<string, string>, base: string, steps: Steps, now = 0): void {
    const mine = this.text;
    this.state = { registers: new Map(registers), composed: compose(registers) };
    // Where only the spelling differs, what is shown stays as it is.
    if (this.text !== base && compose(seed(base)).text === this.text) this.composed = { ...this.composed, text: base };
    this.past = [...steps.past];
    this.future = [...steps.future];
    this.last = undefined;
    this.isOwn = false;
    this.shown.clear();
    this.remember();
    if (mine !== base) this.put(mine, base, { now, label: 'Change' });
    this.tell();
  }

  /** This person's steps. */
  steps(): Steps {
    return { past: this.past, future: this.future };
  }

  /** What [restored] reads; nothing before anything was changed. */
  pack(): Packed | undefined {
    if (!this.state) return undefined;
    return { registers: [...this.registers], ...newest(this.steps()) };
  }

  /** A text that was shown here not long ago, by what tells it from others. */
  remembered(isIt: (text: string) => boolean): string | undefined {
    return [...this.shown.keys()].reverse().find(isIt);
  }
}

/** Two changes after each other as one. */
function joined(first: Step, then: Step['changed']): Step {
  const all = new Map(first.changed.map((each) => [each[0], each]));
  for (const [name, before, after] of then) all.set(name, [name, all.get(name)?.[1] ?? (all.has(name) ? undefined : before), after]);
  return { label: first.label, changed: [...all.values()] };
}

/**
 * What comes of two texts that were both made of `base`: what either changed is changed, and where both changed the same
 * piece `theirs` counts. Undefined when one of them cannot be read.
 */
export function merged(base: string, mine: string, theirs: string): string | undefined {
  const both = new Shared(base);
  return both.put(mine, base, { now: 0 }) && both.put(theirs, base, { now: 0 }) ? both.text : undefined;
}

/** A document with this person's steps, as it is kept over a reload. */
export interface Packed extends Steps {
  registers: [string, string][];
}

/** Steps that are kept over a reload, to each side, and characters of all of them together. */
const PACKED = { steps: 50, characters: 400_000 };

/** The newest steps, as many as there is room for. */
export function newest({ past, future }: Steps): Steps {
  let left = PACKED.characters;
  const side = (steps: readonly Step[]): Step[] => {
    const kept: Step[] = [];
    for (const step of [...steps].reverse().slice(0, PACKED.steps)) {
      left -= JSON.stringify(step).length;
      if (left < 0) break;
      kept.unshift(step);
    }
    return kept;
  };
  return { past: side(past), future: side(future) };
}

const isStep = (value: unknown): value is Step => {
  const step = value as Partial<Step> | null;
  return typeof step?.label === 'string' && Array.isArray(step.changed) && step.changed.every((each) => Array.isArray(each) && typeof each[0] === 'string');
};

/** Reads what [Shared.pack] made, when it is of this text; nothing otherwise. */
export function restored(packed: unknown, text: string): Shared | undefined {
  const { past, future, registers } = (packed ?? {}) as Partial<Packed>;
  if (!Array.isArray(past) || !Array.isArray(future) || !Array.isArray(registers) || ![...past, ...future].every(isStep)) return undefined;
  const shared = new Shared(text);
  // Written as JSON, what was absent is null.
  const whole = (steps: readonly Step[]): Step[] =>
    steps.map(({ label, changed }) => ({ label, changed: changed.map(([name, before, after]) => [name, before ?? undefined, after ?? undefined]) }));
  const kept = new Map(registers);
  const composed = compose(kept).text;
  if (composed !== text && composed !== compose(seed(text)).text) return undefined;
  shared.adopt(kept, text, { past: whole(past), future: whole(future) });
  return shared;
}
