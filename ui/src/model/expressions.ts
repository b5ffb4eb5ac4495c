/** What an expression can see, as far as it is known: `parameters`, `components` and so on, as one value. */
export type Data = Readonly<Record<string, unknown>>;

/** An expression in a text: where its source begins and ends. */
export interface Span {
  from: number;
  to: number;
}

/** The expression that a place of a text is in. A bare text is one expression as a whole. */
export function expressionAt(text: string, at: number, bare: boolean): Span | undefined {
  if (bare) return { from: 0, to: text.length };
  const open = text.lastIndexOf('${{', Math.max(0, at - 3));
  if (open < 0) return undefined;
  const from = open + 3;
  const close = text.indexOf('}}', from);
  if (close >= 0 && close < at) return undefined;
  return { from, to: close < 0 ? text.length : close };
}

const PATH = /[A-Za-z_]\w*(?:\s*\.\s*\w+|\[\d+\]|\[(?:'[^']*'|"[^"]*")\])*/;
const WHOLE_PATH = new RegExp(`^\\s*(${PATH.source})\\s*$`);
const TYPED = new RegExp(`(?:${PATH.source}\\.?|)$`);

/** The reference that is being typed at the end of a source, which may be nothing yet. */
export function typedReference(source: string): string {
  const typed = TYPED.exec(source)?.[0] ?? '';
  // Inside of quotes there are words, and no references.
  const before = source.slice(0, source.length - typed.length);
  const open = (sign: string) => before.split(sign).length % 2 === 0;
  return open("'") || open('"') ? '' : typed;
}

function partsOf(path: string): string[] {
  return [...path.matchAll(/\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]|(\w+)/g)].map((found) => found[1] ?? found[2] ?? found[3] ?? found[4] ?? '');
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  // Only what is its own: a text like `constructor` names nothing.
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** What a reference stands for; undefined when there is nothing there. */
export function valueOf(path: string, data: Data): unknown {
  return partsOf(path).reduce<unknown>((value, part) => member(value, part), data);
}

/** What a text would be with some data. */
export type Preview =
  | { kind: 'value'; value: unknown }
  /** A reference that has no value in the data. */
  | { kind: 'missing'; path: string }
  /** It is more than references: only the server computes that. */
  | { kind: 'computed' }
  /** There is no expression in it. */
  | { kind: 'plain' };

/** Shows what references stand for. Operators and filters are the server's: guessing them here could be wrong. */
export function previewOf(text: string, bare: boolean, data: Data): Preview {
  if (bare) {
    const path = WHOLE_PATH.exec(text)?.[1];
    if (text.trim() === '') return { kind: 'plain' };
    if (path === undefined) return { kind: 'computed' };
    const value = valueOf(path, data);
    return value === undefined ? { kind: 'missing', path } : { kind: 'value', value };
  }
  const parts = [...text.matchAll(/\$\{\{(.*?)\}\}/gs)];
  if (parts.length === 0) return { kind: 'plain' };
  const values: unknown[] = [];
  for (const part of parts) {
    const path = WHOLE_PATH.exec(part[1] ?? '')?.[1];
    if (path === undefined) return { kind: 'computed' };
    const value = valueOf(path, data);
    if (value === undefined) return { kind: 'missing', path };
    values.push(value);
  }
  if (parts.length === 1 && parts[0]?.[0] === text.trim()) return { kind: 'value', value: values[0] };
  let at = 0;
  let joined = '';
  for (const [index, part] of parts.entries()) {
    const value = values[index];
    joined += text.slice(at, part.index) + (typeof value === 'string' ? value : JSON.stringify(value));
    at = part.index + part[0].length;
  }
  return { kind: 'value', value: joined + text.slice(at) };
}

/** A value in a few characters. */
export function brief(value: unknown, most = 60): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

export interface Suggestion {
  /** What stands there when it is chosen. */
  path: string;
  /** What it stood for last, in a few characters; empty when that is not known. */
  last: string;
}

/** Suggestions that are shown at most. */
const MOST = 40;
const NAME = /^[A-Za-z_]\w*$/;

/** What every component has beside its output. */
const BESIDE = ['status', 'error', 'attempts'];

/**
 * What a reference that is being typed may become: names that may be seen, then what lies below them in the data. What
 * begins with what was typed comes before what only holds it.
 */
export function suggest(typed: string, references: readonly string[], data: Data | undefined): Suggestion[] {
  const known = new Set(references);
  for (const each of references) {
    const id = /^components\.(\w+)\.output$/.exec(each)?.[1];
    if (id !== undefined) for (const name of BESIDE) known.add(`components.${id}.${name}`);
  }
  const dot = typed.lastIndexOf('.');
  const parent = dot < 0 ? '' : typed.slice(0, dot);
  // Data lies only below what may be seen: what runs later is in the last execution as well.
  if (data && parent !== '' && [...known].some((each) => parent === each || parent.startsWith(`${each}.`) || parent.startsWith(`${each}[`))) {
    const value = valueOf(parent, data);
    if (Array.isArray(value)) value.slice(0, 3).forEach((_, index) => known.add(`${parent}[${index}]`));
    else if (typeof value === 'object' && value !== null) {
      for (const key of Object.keys(value)) known.add(NAME.test(key) ? `${parent}.${key}` : `${parent}['${key.replaceAll("'", '')}']`);
    }
  }
  const wanted = typed.toLowerCase();
  const rest = wanted.slice(wanted.lastIndexOf('.') + 1);
  const list = [...known].filter((each) => each !== typed);
  const starts = list.filter((each) => each.toLowerCase().startsWith(wanted) || (parent !== '' && each.startsWith(`${parent}[`) && rest === ''));
  const holds = dot < 0 && wanted.length > 1 ? list.filter((each) => !starts.includes(each) && each.toLowerCase().includes(wanted)) : [];
  return [...starts, ...holds].slice(0, MOST).map((path) => {
    const value = data ? valueOf(path, data) : undefined;
    return { path, last: value === undefined ? '' : brief(value) };
  });
}

/** Keys of the document whose text is one expression as a whole. */
const BARE_KEY = /^\s*(?:- )?(?:when|condition|expression):\s+/;

/** What is written of an expression before a place of a line of the source; undefined when there is none. */
export function writtenAt(line: string, at: number): string | undefined {
  const bare = BARE_KEY.exec(line)?.[0].length;
  if (bare !== undefined && at >= bare && !line.includes('${{')) return line.slice(bare, at);
  const span = expressionAt(line, at, false);
  return span && line.slice(span.from, at);
}

/** The reference that a place of a line of the source is in. */
export function referenceAround(line: string, at: number): (Span & { path: string }) | undefined {
  for (const found of line.matchAll(new RegExp(PATH, 'g'))) {
    const [from, to] = [found.index, found.index + found[0].length];
    if (from <= at && at <= to && writtenAt(line, to) !== undefined && /^(parameters|components|execution|workflow)\s*\./.test(found[0])) {
      return { from, to, path: found[0] };
    }
  }
  return undefined;
}
