import { isAlias, isMap, isScalar, isSeq, visit, type Document, type Node, type YAMLMap } from 'yaml';

import { freeId, need, needText, parse, parsed, remembering, STYLE } from './document';

// How a document is cut into pieces that several people can change at once, and put together again.
//
// A piece is a key with what stands at it, as it was written. Block maps are cut further, down to their values; flow
// collections, lists and texts are one piece. The pieces live in registers: names with a text each, of which the last
// write counts. Whatever set of registers a merge leaves behind, `compose` makes one document of it that can be read.

/** What is kept of a document: a text for each name. */
export type Registers = ReadonlyMap<string, string>;
/** Changes of registers; undefined takes one away. */
export type Change = readonly [name: string, value: string | undefined];

/** A key of the text with what stands at it. */
interface Piece {
  name: string;
  /** The key as it was written. */
  key: string;
  /** Comments and empty lines before it. */
  before: string[];
  /** What follows the key: all of it, or the rest of its line when there are children. Further lines count from the key's column. */
  rest: string;
  /** Columns by which the children stand further to the right; 0 when there are none. */
  step: number;
  children: Piece[];
  /** Of `needs`: what it lists, when it is a plain list. */
  listed: string[] | undefined;
}

interface Tree {
  /** The text, when it is one piece: with anchors, for instance, which pieces would lose. */
  whole: string | undefined;
  children: Piece[];
  /** Comments and empty lines at the end. */
  tail: string[];
}

/** A document that was put together. */
export interface Composed {
  text: string;
  /** The key of each component, by the id it is shown under. */
  keys: ReadonlyMap<string, string>;
}

const ROOT = ':';
const TOP_SCOPES = new Set(['components', 'on_failure', 'finally']);
const SCOPES = new Set(['components', 'catch', 'finally']);
const BLANK = /^\s*(#.*)?$/;
const BLOCK_TEXT = /[|>][-+0-9]*\s*(#.*)?$/;

const isScope = (parent: 'root' | 'component' | 'other', name: string) =>
  parent === 'root' ? TOP_SCOPES.has(name) : parent === 'component' && SCOPES.has(name);

const keyOf = (key: unknown): string => (isScalar(key) ? String(key.value) : '');

/** The maps in one line that hold components, and what is around those: so written they could not be cut. */
function folded(document: Document): YAMLMap[] {
  const found: YAMLMap[] = [];
  const look = (node: YAMLMap) => {
    if (node.flow && node.items.length > 0) found.push(node);
  };
  const scopes = (map: YAMLMap, parent: 'root' | 'component') => {
    for (const pair of map.items) {
      if (!isScope(parent, keyOf(pair.key)) || !isMap(pair.value)) continue;
      look(pair.value);
      for (const each of pair.value.items) {
        if (!isMap(each.value)) continue;
        const inner = each.value.items.some((field) => isScope('component', keyOf(field.key)) && isMap(field.value) && field.value.items.length > 0);
        // What stands in one line by itself stays so, unless it holds components.
        if (pair.value.flow || inner) look(each.value);
        if (inner) scopes(each.value, 'component');
      }
    }
  };
  if (isMap(document.contents)) {
    look(document.contents);
    scopes(document.contents, 'root');
  }
  return found;
}

/** Where what a node says ends; trailing comments are not of it. */
function endOf(node: unknown, otherwise: number): number {
  if (isMap(node) && !node.flow && node.items.length > 0) {
    const last = node.items[node.items.length - 1];
    return endOf(last?.value, endOf(last?.key, otherwise));
  }
  if (isSeq(node) && !node.flow && node.items.length > 0) return endOf(node.items[node.items.length - 1], otherwise);
  const range = (node as Node | null | undefined)?.range;
  if (!range || (isScalar(node) && node.value === null && range[0] === range[1])) return otherwise;
  return Math.max(otherwise, range[1]);
}

/** Takes up to `indent` blanks from the beginning of a line. */
function outdent(line: string, indent: number): string {
  let at = 0;
  while (at < indent && line[at] === ' ') at += 1;
  return line.slice(at);
}

/** A line before a key, counted from the key's column; one that stands further to the left says by how much. */
function note(line: string, indent: number): string {
  const text = line.trimStart();
  if (text === '') return '';
  const lead = line.length - text.length;
  return lead >= indent ? line.slice(indent).trimEnd() : `<${indent - lead}${text.trimEnd()}`;
}

const whole = (text: string): Tree => ({ whole: text, children: [], tail: [] });

/** The beginnings of lines, to find the line of a place. */
function linesOf(text: string): { at: (offset: number) => number; start: (line: number) => number } {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return {
    at: (offset) => {
      let [low, high] = [0, starts.length - 1];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if ((starts[middle] ?? 0) <= offset) low = middle;
        else high = middle - 1;
      }
      return low;
    },
    start: (line) => starts[line] ?? text.length,
  };
}

/** Cuts a text; undefined when it is not YAML, or not keys with values. */
const cut = remembering((given: string): Tree | undefined => {
  let text = given.replace(/\r\n?/g, '\n');
  if (text !== '' && !text.endsWith('\n')) text += '\n';
  let document = parsed(text);
  if (document.errors.length > 0) return undefined;
  let isBound = document.directives?.docStart === true;
  visit(document, {
    Node(_, node) {
      if (isAlias(node) || (node as { anchor?: string }).anchor !== undefined) isBound = true;
    },
  });
  if (isBound) return whole(given);
  if (!isMap(document.contents) || document.contents.items.length === 0) return undefined;
  if (folded(document).length > 0) {
    const opened = parse(text);
    for (const map of folded(opened)) map.flow = false;
    text = opened.toString(STYLE);
    document = parsed(text);
    if (document.errors.length > 0) return undefined;
  }

  const lines = text.split('\n');
  const places = linesOf(text);
  const found: { piece: Piece; line: number; indent: number; end: number }[] = [];
  /** Whether a map's keys stand alone at one column, so that it can be cut; then which. */
  const column = (map: unknown, after: number): number | undefined => {
    if (!isMap(map) || map.flow || map.items.length === 0 || map.tag !== undefined) return undefined;
    let indent: number | undefined;
    for (const { key } of map.items) {
      if (!isScalar(key) || !key.range || key.tag !== undefined || key.type === 'BLOCK_LITERAL' || key.type === 'BLOCK_FOLDED') return undefined;
      const line = places.at(key.range[0]);
      const at = key.range[0] - places.start(line);
      if (line <= after || lines[line]?.slice(0, at).trim() !== '' || places.at(key.range[1]) !== line) return undefined;
      if (!/^\s*:(\s|$)/.test(lines[line].slice(key.range[1] - places.start(line)))) return undefined;
      indent ??= at;
      if (indent !== at) return undefined;
    }
    return indent;
  };
  let isOdd = false;
  const walk = (map: YAMLMap, indent: number, kind: 'root' | 'scope' | 'component' | 'other'): Piece[] =>
    map.items.map((pair) => {
      const key = pair.key as { range: [number, number, number]; value: unknown };
      const line = places.at(key.range[0]);
      const [from, to] = [key.range[0] - places.start(line), key.range[1] - places.start(line)];
      const name = String(key.value);
      const deeper = column(pair.value, line);
      const piece: Piece = {
        name,
        key: (lines[line] ?? '').slice(from, to),
        before: [],
        rest: (lines[line] ?? '').slice(to).trimEnd(),
        step: deeper !== undefined && deeper > indent ? deeper - indent : 0,
        children: [],
        listed: undefined,
      };
      found.push({ piece, line, indent, end: piece.step > 0 ? key.range[1] : endOf(pair.value, key.range[1]) });
      if (piece.step > 0) {
        const holds = kind === 'scope' ? 'component' : isScope(kind, name) ? 'scope' : 'other';
        piece.children = walk(pair.value as YAMLMap, deeper ?? 0, holds);
      } else if (isScope(kind === 'scope' ? 'other' : kind, name) && isMap(pair.value) && pair.value.items.length > 0) {
        // Components under keys that cannot be keys of components.
        isOdd = true;
      } else if (kind === 'component' && name === 'needs') {
        const given = isSeq(pair.value) ? pair.value.items : [pair.value];
        if (given.every((each) => isScalar(each) && typeof each.value === 'string')) {
          piece.listed = given.map((each) => (each as { value: string }).value);
        }
      }
      return piece;
    });
  const { contents } = document;
  if (!isMap(contents) || column(contents, -1) !== 0) return undefined;
  const children = walk(contents, 0, 'root');
  if (isOdd) return undefined;

  let before: string[] = lines.slice(0, found[0]?.line ?? 0);
  found.forEach(({ piece, line, indent, end }, index) => {
    const next = found[index + 1]?.line ?? lines.length - 1;
    piece.before = before.map((each) => note(each, indent));
    // The last line that says something; of a text in a block also one that looks like a comment.
    let last = Math.min(next - 1, places.at(Math.max(0, end - 1)));
    for (let at = next - 1; at > last; at -= 1) {
      if (!BLANK.test(lines[at] ?? '')) last = at;
    }
    if (!/^\s*:.*[|>]\d?\+/.test(piece.rest)) while (last > line && (lines[last] ?? '').trim() === '') last -= 1;
    if (piece.step === 0) {
      const further = lines.slice(line + 1, last + 1).map((each) => outdent(each, indent));
      piece.rest = [piece.rest, ...further].join('\n');
    } else last = line;
    before = lines.slice(last + 1, next);
  });
  return { whole: undefined, children, tail: before.map((each) => note(each, 0)) };
});

// Registers.

const escape = (name: string) => encodeURIComponent(name);
type Field = [order: number, before: string[], key: string, rest: string, step: number, name: string, listed?: string[]];
type Head = [before: string[], key: string, rest: string, step: number, name: string];
type Place = [parent: string, order: number];

/** Numbers of which the lists below are to be in order; as many as can stay as they are. */
function ordered(keys: readonly string[], known: (key: string) => number | undefined): number[] {
  const had = keys.map(known);
  // The longest run of those that are in order already; equal ones are ordered by their keys.
  const ends: number[] = [];
  const link: number[] = [];
  const less = (a: number, b: number) => (had[a] ?? 0) < (had[b] ?? 0) || (had[a] === had[b] && (keys[a] ?? '') < (keys[b] ?? ''));
  keys.forEach((_, index) => {
    if (had[index] === undefined) return;
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (less(ends[middle] ?? 0, index)) low = middle + 1;
      else high = middle;
    }
    link[index] = low > 0 ? (ends[low - 1] ?? -1) : -1;
    ends[low] = index;
  });
  const stays = new Set<number>();
  for (let at = ends[ends.length - 1] ?? -1; at >= 0; at = link[at] ?? -1) stays.add(at);

  const result: number[] = [];
  for (let index = 0; index < keys.length; index += 1) {
    if (stays.has(index)) {
      result.push(had[index] ?? 0);
      continue;
    }
    let end = index;
    while (end < keys.length && !stays.has(end)) end += 1;
    const low = result[index - 1] ?? (end < keys.length ? (had[end] ?? 0) - (end - index + 1) : 0);
    // Where there is no room between two, the ones behind make some.
    let high = end < keys.length ? (had[end] ?? 0) : low + (end - index + 1);
    while (end < keys.length && (high - low) / (end - index + 1) < 1e-6) {
      stays.delete(end);
      end += 1;
      while (end < keys.length && !stays.has(end)) end += 1;
      high = end < keys.length ? (had[end] ?? 0) : low + (end - index + 1);
    }
    const width = (high - low) / (end - index + 1);
    for (let each = index; each < end; each += 1) result.push(low + width * (each - index + 1));
    index = end - 1;
  }
  return result;
}

function orderOf(registers: Registers, name: string): number | undefined {
  const value = registers.get(name);
  if (value === undefined) return undefined;
  const [first, second] = JSON.parse(value) as [unknown, unknown];
  const order = name.startsWith('@') && !name.includes('/') ? second : first;
  return typeof order === 'number' ? order : undefined;
}

/** Every component of a tree, outside before inside, with the path of the list it stands in. */
function* componentsOf(pieces: readonly Piece[], kind: 'root' | 'component', path: string): Generator<{ piece: Piece; list: string; index: number }> {
  for (const piece of pieces) {
    if (!isScope(kind, piece.name)) continue;
    const list = `${path}/${piece.name}`;
    for (const [index, each] of piece.children.entries()) {
      yield { piece: each, list, index };
      yield* componentsOf(each.children, 'component', `${list}/${each.name}`);
    }
  }
}

/** Gives each component its key: the one it had, also under another id, or a new one. */
function keysOf(tree: Tree, base: { tree: Tree; keys: ReadonlyMap<string, string> } | undefined, fresh: (id: string) => string): Map<Piece, string> {
  const keys = new Map<Piece, string>();
  const taken = new Set<string>();
  const added: { piece: Piece; list: string; index: number }[] = [];
  for (const each of componentsOf(tree.children, 'root', '')) {
    const key = base?.keys.get(each.piece.name);
    if (key !== undefined && !taken.has(key)) {
      keys.set(each.piece, key);
      taken.add(key);
    } else added.push(each);
  }
  const typeOf = (piece: Piece) => piece.children.find((each) => each.name === 'type')?.rest ?? piece.rest;
  const gone = base ? [...componentsOf(base.tree.children, 'root', '')].filter((each) => !taken.has(base.keys.get(each.piece.name) ?? '')) : [];
  for (const each of added) {
    // Another id at the same place, for the same type: it was renamed.
    const was = gone.find((old) => old.list === each.list && old.index === each.index && typeOf(old.piece) === typeOf(each.piece));
    const key = was && base?.keys.get(was.piece.name);
    if (key !== undefined && !taken.has(key)) {
      keys.set(each.piece, key);
      taken.add(key);
    } else {
      let made = escape(fresh(each.piece.name));
      while (taken.has(made)) made = `${made}~`;
      keys.set(each.piece, made);
      taken.add(made);
    }
  }
  return keys;
}

/** Writes a tree into registers. Orders that `known` has are kept as far as they are in order. */
function write(tree: Tree, keys: ReadonlyMap<Piece, string>, known: Registers): Map<string, string> {
  const made = new Map<string, string>();
  made.set(ROOT, JSON.stringify([tree.whole ?? null, tree.tail]));
  const idToKey = new Map<string, string>();
  for (const [piece, key] of keys) if (!idToKey.has(piece.name)) idToKey.set(piece.name, key);

  const fields = (pieces: readonly Piece[], path: string, kind: 'root' | 'component' | 'layout' | 'other') => {
    const names = pieces.map((piece) => {
      const key = kind === 'layout' ? idToKey.get(piece.name) : undefined;
      return `${path}/${key === undefined ? escape(piece.name) : `@${key}`}`;
    });
    const orders = ordered(names, (name) => orderOf(known, name));
    pieces.forEach((piece, index) => {
      const name = names[index] ?? '';
      const value: Field = [orders[index] ?? 0, piece.before, piece.key, piece.rest, piece.step, piece.name];
      if (kind === 'component' && piece.name === 'needs' && piece.listed) {
        const listed = piece.listed.map((text) => {
          const { id, port } = need(text);
          const key = idToKey.get(id);
          return key === undefined ? `?${escape(id)}.${escape(port)}` : `@${key}.${escape(port)}`;
        });
        value.push(listed);
        for (const each of listed) made.set(`${name}>${each}`, '');
      }
      made.set(name, JSON.stringify(value));
      if (isScope(kind === 'layout' ? 'other' : kind, piece.name)) components(piece.children, name);
      else if (piece.step > 0) fields(piece.children, name, kind === 'root' && piece.name === 'layout' ? 'layout' : 'other');
    });
  };
  const components = (pieces: readonly Piece[], list: string) => {
    const names = pieces.map((piece) => `@${keys.get(piece) ?? ''}`);
    const orders = ordered(names, (name) => orderOf(known, name));
    pieces.forEach((piece, index) => {
      const name = names[index] ?? '';
      made.set(name, JSON.stringify([list, orders[index] ?? 0] satisfies Place));
      made.set(`${name}:`, JSON.stringify([piece.before, piece.key, piece.rest, piece.step, piece.name] satisfies Head));
      if (piece.step > 0) fields(piece.children, name, 'component');
    });
  };
  fields(tree.children, '', 'root');
  return made;
}

/** The registers of a text that nobody has changed yet: the same for everybody. */
export function seed(text: string): Map<string, string> {
  const tree = cut(text) ?? whole(text);
  return write(tree, keysOf(tree, undefined, (id) => id), new Map());
}

/**
 * What has to change in `registers` so that what `base` says becomes what `next` says; undefined when `next` cannot be read.
 *
 * What others changed since `base` was shown stays: only what is different between the two texts is touched. `keys` are
 * the components of `base`, and `fresh` makes the key of a new one.
 */
export function changes(registers: Registers, base: Composed, next: string, fresh: (id: string) => string): Change[] | undefined {
  const tree = cut(next);
  if (!tree) return undefined;
  const was = cut(base.text) ?? whole(base.text);
  const keysBefore = new Map<Piece, string>();
  for (const { piece } of componentsOf(was.children, 'root', '')) {
    const key = base.keys.get(piece.name);
    if (key !== undefined) keysBefore.set(piece, key);
  }
  const before = write(was, keysBefore, registers);
  // Of a text that was one piece everybody makes the same pieces.
  const after = write(tree, keysOf(tree, { tree: was, keys: base.keys }, was.whole === undefined ? fresh : (id) => id), before);
  const made: Change[] = [];
  for (const [name, value] of after) if (before.get(name) !== value) made.push([name, value]);
  for (const name of before.keys()) if (!after.has(name)) made.push([name, undefined]);
  // What was hidden under a key that had no children must not appear now that it has.
  const isMapAt = (value: string | undefined) => (readAs<Field>(value, isField)?.[4] ?? 0) > 0;
  const opened = new Set(made.filter(([name, value]) => isMapAt(value) && !isMapAt(before.get(name))).map(([name]) => name));
  if (opened.size > 0) {
    for (const name of registers.keys()) {
      if (after.has(name) || before.has(name)) continue;
      const slash = Math.max(name.lastIndexOf('/'), name.lastIndexOf('>'));
      if (slash > 0 && opened.has(name.slice(0, slash))) made.push([name, undefined]);
    }
  }
  return made;
}

/** A value that a register should hold; undefined when a faulty writer left another. */
function readAs<T>(value: string | undefined, isGood: (value: unknown[]) => boolean): T | undefined {
  if (value === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) && isGood(parsed) ? (parsed as T) : undefined;
  } catch {
    return undefined;
  }
}
const areTexts = (value: unknown): boolean => Array.isArray(value) && value.every((each) => typeof each === 'string');
const isField = (v: unknown[]) => typeof v[0] === 'number' && areTexts(v[1]) && typeof v[2] === 'string' && typeof v[3] === 'string' && typeof v[4] === 'number' && typeof v[5] === 'string';
const isHead = (v: unknown[]) => areTexts(v[0]) && typeof v[1] === 'string' && typeof v[2] === 'string' && typeof v[3] === 'number' && typeof v[4] === 'string';
const isPlace = (v: unknown[]) => typeof v[0] === 'string' && typeof v[1] === 'number';

/** The component whose list this is; null for a list of the workflow, undefined for no list of components. */
function ownerOf(list: string): string | null | undefined {
  const slash = list.lastIndexOf('/');
  const name = list.slice(slash + 1);
  if (slash === 0) return TOP_SCOPES.has(name) ? null : undefined;
  return list.startsWith('@') && list.indexOf('/') === slash && SCOPES.has(name) ? list.slice(1, slash) : undefined;
}

const byOrder = <T extends { order: number; name: string }>(a: T, b: T) => a.order - b.order || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/**
 * Puts registers together. The same registers give the same document everywhere, and it is one that can be read:
 *
 * - what stands in something that is gone is gone, but a component that was put into a container which somebody else
 *   deleted meanwhile, or wrote something else into, stands in the workflow itself;
 * - of containers that were put into each other, the one with the smallest key stands in the workflow;
 * - of two components with one id, the one with the greater key gets the next free id;
 * - connections from a component that was deleted are gone, and those to one that was renamed follow it.
 */
export function compose(registers: Registers): Composed {
  const root = readAs<[string | null, string[]]>(registers.get(ROOT), (v) => (v[0] === null || typeof v[0] === 'string') && areTexts(v[1]));
  if (typeof root?.[0] === 'string') return { text: root[0], keys: new Map() };

  const fields = new Map<string, { order: number; name: string; field: Field }[]>();
  const members = new Map<string, string[]>();
  const parts = new Map<string, { place: Place; head: Head }>();
  for (const [name, value] of registers) {
    const member = name.indexOf('>');
    if (member > 0) {
      const list = name.slice(0, member);
      const held = members.get(list);
      if (held) held.push(name.slice(member + 1));
      else members.set(list, [name.slice(member + 1)]);
      continue;
    }
    const slash = name.lastIndexOf('/');
    if (slash >= 0) {
      const field = readAs<Field>(value, isField);
      if (!field) continue;
      const path = name.slice(0, slash);
      const held = fields.get(path);
      const made = { order: field[0], name, field };
      if (held) held.push(made);
      else fields.set(path, [made]);
    } else if (name.startsWith('@') && !name.endsWith(':')) {
      const place = readAs<Place>(value, isPlace);
      const head = readAs<Head>(registers.get(`${name}:`), isHead);
      if (place && head) parts.set(name.slice(1), { place, head });
    }
  }

  // Where each component stands.
  const TOP = '/components';
  const lists = new Map<string, string>();
  const sorted = [...parts.keys()].sort();
  const holder = (key: string): string | null => {
    const list = lists.get(key) ?? parts.get(key)?.place[0] ?? TOP;
    return ownerOf(list) ?? null;
  };
  /** Whether components can stand there: somebody may have written something else in its place. */
  const isList = (list: string): boolean => {
    const field = readAs<Field>(registers.get(list), isField);
    return field === undefined || field[4] > 0 || withoutNothing(field[3]) !== undefined;
  };
  for (const key of sorted) {
    const list = parts.get(key)?.place[0] ?? TOP;
    const owner = ownerOf(list);
    const isThere = owner === null || (owner !== undefined && (parts.get(owner)?.head[3] ?? 0) > 0);
    lists.set(key, isThere && isList(list) ? list : TOP);
  }
  const settled = new Set<string>();
  for (const key of sorted) {
    const way: string[] = [];
    let at: string | null = key;
    while (at !== null && !settled.has(at) && !way.includes(at)) {
      way.push(at);
      at = holder(at);
    }
    if (at !== null && !settled.has(at)) {
      const circle = way.slice(way.indexOf(at)).sort();
      if (circle[0] !== undefined) lists.set(circle[0], TOP);
    }
    for (const each of way) settled.add(each);
  }
  const inside = new Map<string, { order: number; name: string }[]>();
  for (const key of sorted) {
    const list = lists.get(key) ?? TOP;
    const made = { order: parts.get(key)?.place[1] ?? 0, name: key };
    const held = inside.get(list);
    if (held) held.push(made);
    else inside.set(list, [made]);
  }

  // Under which id each is shown.
  const ids = new Map<string, string>();
  const keys = new Map<string, string>();
  const wanted = new Set([...parts.values()].map((part) => part.head[4]));
  for (const key of sorted) {
    const name = parts.get(key)?.head[4] ?? key;
    const id = keys.has(name) ? freeId(name.replace(/_\d+$/, ''), { has: (each) => keys.has(each) || wanted.has(each) }) : name;
    ids.set(key, id);
    keys.set(id, key);
  }

  const lines: string[] = [];
  /** Whether what was written last is a text in a block: what stands further right would be of it. */
  let isOpen = false;
  const put = (indent: number, before: readonly string[], key: string, rest: string) => {
    const blanks = ' '.repeat(indent);
    for (const each of before) {
      const left = /^<(\d+)(#.*)$/.exec(each);
      if (left) lines.push(' '.repeat(Math.max(0, indent - Number(left[1]))) + (left[2] ?? ''));
      else if (each === '' || BLANK.test(each)) lines.push(each === '' ? '' : blanks + (isOpen ? each.trimStart() : each));
    }
    const [first, ...further] = rest.split('\n');
    lines.push(`${blanks}${key}${first ?? ''}`, ...further.map((each) => (each === '' ? '' : blanks + each)));
    isOpen = BLOCK_TEXT.test(first ?? '') || further.some((each) => BLOCK_TEXT.test(each));
  };
  const written = (name: string, key: string, keyName: string) => (name === keyName ? key : /^[a-z_][a-z0-9_]*$/.test(name) ? name : JSON.stringify(name));

  const all = (path: string, kind: 'root' | 'component' | 'layout' | 'other'): { order: number; name: string; field: Field }[] => {
    const given = [...(fields.get(path) ?? [])];
    // Lists of components are there as long as something stands in them.
    for (const scope of kind === 'root' ? TOP_SCOPES : kind === 'component' ? SCOPES : []) {
      const name = `${path}/${scope}`;
      if (inside.has(name) && !given.some((each) => each.name === name)) {
        given.push({ order: 1e6, name, field: [1e6, [], scope, ':', 2, scope] });
      }
    }
    const needs = `${path}/needs`;
    if (kind === 'component' && members.has(needs) && !given.some((each) => each.name === needs)) {
      const first = [...given].sort(byOrder)[0];
      given.push({ order: (first?.order ?? 0) + 1e-9, name: needs, field: [0, [], 'needs', ': []', 0, 'needs', []] });
    }
    return given.sort(byOrder);
  };

  const emit = (path: string, indent: number, kind: 'root' | 'component' | 'layout' | 'other') => {
    const seen = new Set<string>();
    for (const { name, field } of all(path, kind)) {
      const [, before, key, given, step, ownName, listed] = field;
      let rest = given;
      let shown = ownName;
      if (kind === 'layout') {
        const last = name.slice(path.length + 1);
        if (last.startsWith('@')) {
          const id = ids.get(last.slice(1));
          if (id === undefined) continue;
          shown = id;
        }
      }
      if (seen.has(shown)) continue;
      seen.add(shown);
      if (kind === 'component' && ownName === 'needs' && listed) {
        const rule = needsAs(name, listed, rest);
        if (rule === undefined) continue;
        rest = rule;
      }
      if ((kind === 'root' || kind === 'component') && isScope(kind, ownName)) {
        const held = inside.get(name);
        if (held) {
          put(indent, before, key, step > 0 ? given : (withoutNothing(given) ?? ':'));
          emitComponents(held.sort(byOrder), indent + (step || 2));
        } else put(indent, before, key, step > 0 ? emptied(given) : given);
        continue;
      }
      if (step === 0) {
        put(indent, before, written(shown, key, ownName), rest);
        continue;
      }
      const at = lines.length;
      put(indent, before, written(shown, key, ownName), rest);
      const head = lines.length;
      const deeper = kind === 'root' && ownName === 'layout' ? 'layout' : 'other';
      emit(name, indent + step, deeper);
      if (lines.length > head) continue;
      lines.length = at;
      if (deeper !== 'layout') put(indent, before, written(shown, key, ownName), emptied(rest));
    }
  };
  const emptied = (rest: string) => rest.replace(/^(\s*:)/, '$1 {}');
  const emitComponents = (held: readonly { name: string }[], indent: number) => {
    for (const { name: key } of held) {
      const part = parts.get(key);
      const id = ids.get(key);
      if (!part || id === undefined) continue;
      const [before, keyText, rest, step, ownName] = part.head;
      const shown = written(id, keyText, ownName);
      put(indent, before, shown, rest);
      if (step === 0) continue;
      const head = lines.length;
      emit(`@${key}`, indent + step, 'component');
      if (lines.length === head) {
        lines.pop();
        put(indent, [], shown, emptied(rest));
      }
    }
  };
  /** What `needs` lists now; undefined when nothing of it is left. */
  const needsAs = (name: string, listed: readonly string[], rest: string): string | undefined => {
    const live = new Map<string, string>();
    for (const member of members.get(name) ?? []) {
      const dot = member.indexOf('.');
      const from = member.slice(1, dot);
      const id = member.startsWith('@') ? ids.get(from) : decodeURIComponent(from);
      if (dot > 0 && id !== undefined) live.set(member, needText(id, decodeURIComponent(member.slice(dot + 1))));
    }
    const [first] = listed;
    const given = listed.filter((each) => live.has(each));
    const further = [...live.keys()].filter((each) => !given.includes(each)).sort((a, b) => ((live.get(a) ?? '') < (live.get(b) ?? '') ? -1 : 1));
    const texts = [...given, ...further].map((each) => live.get(each) ?? '');
    if (texts.length === 0) return first === undefined ? rest : undefined;
    if (further.length === 0 && given.length === listed.length && mentions(rest, texts)) return rest;
    if (rest.includes('\n') && !rest.includes('[')) return [':', ...texts.map((text) => `  - ${text}`)].join('\n');
    return `: [ ${texts.join(', ')} ]`;
  };
  emit('', 0, 'root');
  const tail = (root?.[1] ?? []).map((each) => (/^<\d+/.test(each) ? each.replace(/^<\d+/, '') : isOpen ? each.trimStart() : each)).filter((each) => BLANK.test(each));
  const text = [...lines, ...tail].join('\n');
  return { text: text === '' ? '' : `${text}\n`, keys };
}

/** What follows a key at which nothing stands, with its comments, so that something can stand there; undefined when something does. */
function withoutNothing(rest: string): string | undefined {
  const lines = rest.split('\n').map((line) => /^([^#]*)(#.*)?$/.exec(line) ?? [line, line, '']);
  const said = lines.map(([, code]) => code).join('').replace(/\s/g, '');
  if (![':', ':{}', ':~', ':null'].includes(said)) return undefined;
  return lines
    .map(([, code, comment]) => `${(code ?? '').replace(/\{\s*\}|~|null/, '').trimEnd()}${comment ? ` ${comment}` : ''}`.replace(/^ +/, '  '))
    .filter((line) => line.trim() !== '')
    .join('\n');
}

/** Whether a list that was written names just these, as far as can be seen without reading it. */
function mentions(rest: string, texts: readonly string[]): boolean {
  const words = rest.replace(/#.*$/gm, '').match(/[A-Za-z_][\w.-]*/g) ?? [];
  return words.length === texts.length && words.every((word, index) => needText(need(word).id, need(word).port) === texts[index]);
}
