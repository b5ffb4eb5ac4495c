import { Document, isMap, isScalar, isSeq, LineCounter, parseDocument, stringify, visit, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';

/** A connection: it leads from an output port of one component into another. */
export interface Connection {
  from: string;
  port: string;
  to: string;
}

/** Which list of components a component stands in: of the workflow, or of its container. */
export type ScopeName = 'components' | 'catch' | 'finally' | 'on_failure';

/** A list of components: `parent` is the container it belongs to, or null for those of the workflow. */
export interface Scope {
  parent: string | null;
  name: ScopeName;
}

export type Position = [x: number, y: number];

/** A component as the canvas and the forms read it. */
export interface Component {
  id: string;
  type: string;
  title: string | undefined;
  scope: Scope;
  needs: { id: string; port: string }[];
  join: 'all' | 'any' | 'all_done';
  config: unknown;
  /** Every field as it was written. */
  fields: Record<string, unknown>;
  /** Where it stands in the document. */
  path: string[];
}

/** A document as it can be drawn. What cannot be read as a component is left out; the server's check names it. */
export interface Workflow {
  name: string;
  title: string | undefined;
  fields: Record<string, unknown>;
  parameters: Record<string, unknown>;
  /** In the order of the text, containers before what they hold. */
  components: ReadonlyMap<string, Component>;
  connections: Connection[];
  layout: Readonly<Record<string, Position>>;
}

/** A text that was read: as much of the workflow as there is, and what is wrong with the text itself. */
export interface Read {
  text: string;
  workflow: Workflow;
  /** Why the text is not YAML at all; then `workflow` is what was understood before the mistake. */
  mistake: { message: string; line: number; column: number } | undefined;
}

const SCOPES: readonly ScopeName[] = ['components', 'catch', 'finally'];
const TOP_SCOPES: readonly ScopeName[] = ['components', 'on_failure', 'finally'];
const ID = /^[a-z][a-z0-9_]{0,63}$/;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

export function sameScope(a: Scope, b: Scope): boolean {
  return a.parent === b.parent && a.name === b.name;
}

/** Splits `id.port`; without a port it is `success`. */
export function need(text: string): { id: string; port: string } {
  const dot = text.indexOf('.');
  return dot < 0 ? { id: text, port: 'success' } : { id: text.slice(0, dot), port: text.slice(dot + 1) };
}

/** Writes a connection as it stands in `needs`. */
export function needText(id: string, port: string): string {
  return port === 'success' ? id : `${id}.${port}`;
}

function needsOf(value: unknown): { id: string; port: string }[] {
  const list = Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  return list.filter((each): each is string => typeof each === 'string').map(need);
}

/** A text as a tree of its own, to be changed. */
export function parse(text: string): Document {
  return parseDocument(text, { version: '1.2', keepSourceTokens: false, prettyErrors: false, uniqueKeys: true });
}

function workflowOf(value: unknown): Workflow {
  const fields = isRecord(value) ? value : {};
  const components = new Map<string, Component>();
  const collect = (list: unknown, scope: Scope, path: string[]) => {
    if (!isRecord(list)) return;
    for (const [id, given] of Object.entries(list)) {
      if (components.has(id)) continue;
      const each = isRecord(given) ? given : {};
      const join = textOf(each['join']);
      components.set(id, {
        id,
        type: textOf(each['type']) ?? '',
        title: textOf(each['title']),
        scope,
        needs: needsOf(each['needs']),
        join: join === 'any' || join === 'all_done' ? join : 'all',
        config: each['config'],
        fields: each,
        path: [...path, id],
      });
      for (const name of SCOPES) collect(each[name], { parent: id, name }, [...path, id, name]);
    }
  };
  for (const name of TOP_SCOPES) collect(fields[name], { parent: null, name }, [name]);

  const connections: Connection[] = [];
  for (const component of components.values()) {
    for (const { id, port } of component.needs) connections.push({ from: id, port, to: component.id });
  }
  const layout: Record<string, Position> = {};
  if (isRecord(fields['layout'])) {
    for (const [id, place] of Object.entries(fields['layout'])) {
      if (Array.isArray(place) && typeof place[0] === 'number' && typeof place[1] === 'number') {
        layout[id] = [place[0], place[1]];
      }
    }
  }
  return {
    name: textOf(fields['name']) ?? '',
    title: textOf(fields['title']),
    fields,
    parameters: isRecord(fields['parameters']) ? fields['parameters'] : {},
    components,
    connections,
    layout,
  };
}

/** What was made of the last few texts: reading a large one takes as long as all else that is done with it. */
export function remembering<T>(make: (text: string) => T): (text: string) => T {
  const made = new Map<string, T>();
  return (text) => {
    if (!made.has(text)) made.set(text, make(text));
    const found = made.get(text) as T;
    made.delete(text);
    made.set(text, found);
    const [oldest] = made.keys();
    if (made.size > 4 && oldest !== undefined) made.delete(oldest);
    return found;
  };
}

/** A text as it was parsed, not to be changed. */
export const parsed = remembering(parse);

/** Reads a text; never fails. */
export function read(text: string): Read {
  const document = parsed(text);
  const error = document.errors[0];
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    value = undefined; // More aliases than a document of people has; the server refuses it with a sentence.
  }
  if (!error) return { text, workflow: workflowOf(value), mistake: undefined };
  const before = text.slice(0, error.pos[0]);
  const line = before.split('\n').length;
  return {
    text,
    workflow: workflowOf(value),
    mistake: { message: error.message, line, column: before.length - before.lastIndexOf('\n') },
  };
}

/** Reads a definition as the API keeps it: text, or a value. */
export function textOfDefinition(definition: unknown): string {
  return typeof definition === 'string' ? definition : stringify(definition, { lineWidth: 0 });
}

/** An empty canvas. */
export const EMPTY = 'workflow: v1\nname: untitled\ncomponents: {}\n';

// Edits. Each takes a text that can be read and gives the text after it; comments and the order of keys stay.

/** How documents are written. */
export const STYLE = { lineWidth: 0, flowCollectionPadding: true };

/** A text as an edit that changes nothing would write it: what is different after an edit is different from this. */
export function formatted(text: string): string {
  const document = parsed(text);
  return document.errors.length > 0 || !isMap(document.contents) ? text : document.toString(STYLE);
}

/** Changes a document and writes it again. A text that is not YAML is given back as it is. */
function edit(text: string, change: (document: Document) => void): string {
  const document = parse(text);
  if (document.errors.length > 0) return text;
  if (!isMap(document.contents)) document.contents = document.createNode({ workflow: 'v1' }) as unknown as Node as never;
  change(document);
  return document.toString(STYLE);
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

/** Makes a node equal to a value while keeping all that is equal already: comments, order and style stay. */
function merge(document: Document, node: unknown, value: unknown): Node {
  if (isMap(node) && isRecord(value)) {
    for (const pair of [...node.items]) if (!(keyOf(pair) in value)) node.delete(pair.key);
    for (const [key, each] of Object.entries(value)) {
      const pair = node.items.find((item) => keyOf(item) === key);
      if (pair) pair.value = merge(document, pair.value, each);
      else add(document, node, key, each);
    }
    return node;
  }
  if (isSeq(node) && Array.isArray(value)) {
    const items = value.map((each, index) => merge(document, node.items[index], each));
    node.items = items;
    return node;
  }
  if (isScalar(node) && (value === null || typeof value !== 'object')) {
    if (node.value !== value) {
      node.value = value;
      delete node.source;
      // A style that the new value cannot have would be written wrongly; a plain one is always tried first.
      if (typeof value !== 'string' || !value.includes('\n')) delete node.type;
    }
    return node;
  }
  return create(document, value);
}

/** A new node in the style people write: short lists in one line, texts of several lines as blocks. */
function create(document: Document, value: unknown): Node {
  const node = document.createNode(value) as Node;
  visit(node, {
    Seq(_, list) {
      const short = list.items.length > 0 && list.items.every(isScalar) && JSON.stringify(list.toJSON()).length < 60;
      if (short) list.flow = true;
    },
  });
  return node;
}

function add(document: Document, map: YAMLMap, key: string, value: unknown): void {
  // An empty map is written `{}`; what is put into it stands on lines of its own.
  if (map.flow && map.items.length === 0) map.flow = false;
  map.set(key, create(document, value));
}

function mapAt(document: Document, path: string[]): YAMLMap {
  let node = document.contents as unknown as YAMLMap;
  for (const part of path) {
    const next = node.get(part, true) as unknown;
    if (isMap(next)) {
      node = next;
    } else {
      const made = document.createNode({}) as YAMLMap;
      if (node.flow && node.items.length === 0) node.flow = false;
      node.set(part, made);
      node = made;
    }
  }
  return node;
}

/** Sets a value anywhere; undefined takes the key away, and the maps that are left empty by that, down to `keep` levels. */
function put(document: Document, path: string[], value: unknown, keep = 1): void {
  const key = path[path.length - 1];
  if (key === undefined) return;
  const parents = path.slice(0, -1);
  if (value !== undefined) {
    const map = mapAt(document, parents);
    const present = map.items.find((item) => keyOf(item) === key);
    if (present) present.value = merge(document, present.value, value);
    else add(document, map, key, value);
    return;
  }
  if (!document.hasIn(path)) return;
  document.deleteIn(path);
  if (parents.length > keep) {
    const left = document.getIn(parents, true) as unknown;
    if (isMap(left) && left.items.length === 0) put(document, parents, undefined, keep);
  }
}

/** Sets a field of a component, such as `title` or `config`; undefined leaves it out. */
export function setField(text: string, component: Component, field: string, value: unknown): string {
  return edit(text, (document) => put(document, [...component.path, field], value, component.path.length));
}

/** Sets a field of the workflow itself. */
export function setWorkflowField(text: string, field: string, value: unknown): string {
  return edit(text, (document) => put(document, [field], value, 0));
}

/** Where the components of a scope stand in the document. */
export function scopePath(workflow: Workflow, scope: Scope): string[] {
  if (scope.parent === null) return [scope.name];
  const parent = workflow.components.get(scope.parent);
  return parent ? [...parent.path, scope.name] : ['components'];
}

/** A free id made of a type: `http_request`, then `http_request_2`. */
export function freeId(wanted: string, taken: { has(id: string): boolean }): string {
  const base = wanted.toLowerCase().replace(/[^a-z0-9_]/g, '_').replace(/^[^a-z]+/, '').slice(0, 56) || 'component';
  if (!taken.has(base)) return base;
  for (let number = 2; ; number += 1) {
    const id = `${base}_${number}`;
    if (!taken.has(id)) return id;
  }
}

/** Why an id cannot be given; nothing when it can. */
export function idMistake(id: string, workflow: Workflow, own: string): string | undefined {
  if (!ID.test(id)) return 'a to z, 0 to 9 and _, a letter first, at most 64';
  if (id !== own && workflow.components.has(id)) return `\`${id}\` is taken`;
  return undefined;
}

export interface NewComponent {
  id: string;
  type: string;
  config?: unknown;
  needs?: string[];
  fields?: Record<string, unknown>;
  position?: Position;
}

const round = ([x, y]: Position): Position => [Math.round(x), Math.round(y)];

/** Adds components to a scope. */
export function addComponents(text: string, workflow: Workflow, scope: Scope, added: NewComponent[]): string {
  return edit(text, (document) => {
    for (const { id, type, config, needs, fields, position } of added) {
      const value: Record<string, unknown> = { type, ...fields };
      if (needs && needs.length > 0) value['needs'] = needs;
      if (config !== undefined && !(isRecord(config) && Object.keys(config).length === 0)) value['config'] = config;
      put(document, [...scopePath(workflow, scope), id], value);
      if (position) putPosition(document, id, position);
    }
  });
}

function putPosition(document: Document, id: string, position: Position): void {
  const pair = document.createNode(round(position)) as YAMLSeq;
  pair.flow = true;
  mapAt(document, ['layout']).set(id, pair);
}

/** Writes where components stand. */
export function setPositions(text: string, positions: Iterable<[id: string, position: Position]>): string {
  return edit(text, (document) => {
    for (const [id, position] of positions) putPosition(document, id, position);
  });
}

/** Everything that stands inside containers, they themselves included. */
export function withInside(workflow: Workflow, ids: Iterable<string>): Set<string> {
  const all = new Set(ids);
  // Containers come before what they hold.
  for (const component of workflow.components.values()) {
    if (component.scope.parent !== null && all.has(component.scope.parent)) all.add(component.id);
  }
  return all;
}

/** Removes components with all they hold, and the connections from them. */
export function removeComponents(text: string, workflow: Workflow, ids: Iterable<string>): string {
  const gone = withInside(workflow, ids);
  return edit(text, (document) => {
    for (const component of workflow.components.values()) {
      if (gone.has(component.id)) {
        put(document, ['layout', component.id], undefined, 0);
        if (component.scope.parent === null || !gone.has(component.scope.parent)) document.deleteIn(component.path);
        continue;
      }
      if (component.needs.some((each) => gone.has(each.id))) {
        writeNeeds(document, component, component.needs.filter((each) => !gone.has(each.id)));
      }
    }
  });
}

function writeNeeds(document: Document, component: Component, needs: { id: string; port: string }[]): void {
  const path = [...component.path, 'needs'];
  const texts = needs.map(({ id, port }) => needText(id, port));
  const present = document.getIn(path, true) as unknown;
  if (texts.length === 0) {
    put(document, path, undefined, component.path.length);
  } else if (isSeq(present)) {
    present.items = texts.map((text) => present.items.find((item) => isScalar(item) && item.value === text) ?? document.createNode(text));
  } else {
    const list = document.createNode(texts) as YAMLSeq;
    list.flow = true;
    if (document.hasIn(path)) {
      document.setIn(path, list);
      return;
    }
    // `needs` stands after `type` and `title`, before what the component does.
    const map = mapAt(document, component.path);
    const after = map.items.findIndex((pair) => !['type', 'title', 'description'].includes(keyOf(pair)));
    const pair = document.createPair('needs', list);
    map.items.splice(after < 0 ? map.items.length : after, 0, pair as never);
  }
}

/** Why two components cannot be connected so; nothing when they can. */
export function connectionMistake(workflow: Workflow, { from, port, to }: Connection): string | undefined {
  const source = workflow.components.get(from);
  const target = workflow.components.get(to);
  if (!source || !target) return 'One of them is not there.';
  if (from === to) return 'A component cannot need itself.';
  if (!sameScope(source.scope, target.scope)) return 'Connections stay inside one container.';
  if (target.needs.some((each) => each.id === from && each.port === port)) return 'They are connected already.';
  if (reaches(workflow, to, from)) return 'That would be a circle; a loop container repeats things.';
  return undefined;
}

/** Whether one component comes before another, over any number of connections. */
export function reaches(workflow: Workflow, from: string, to: string): boolean {
  const open = [to];
  const seen = new Set<string>();
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (id === from) return true;
    if (seen.has(id)) continue;
    seen.add(id);
    for (const each of workflow.components.get(id)?.needs ?? []) open.push(each.id);
  }
  return false;
}

/** Connects two components. When the second is reached over exclusive ways, `any` is what must be meant, and is set. */
export function connect(text: string, workflow: Workflow, { from, port, to }: Connection): string {
  const target = workflow.components.get(to);
  if (!target) return text;
  return edit(text, (document) => writeNeeds(document, target, [...target.needs, { id: from, port }]));
}

/** Takes a connection away. */
export function disconnect(text: string, workflow: Workflow, gone: Connection[]): string {
  return edit(text, (document) => {
    for (const to of new Set(gone.map((each) => each.to))) {
      const target = workflow.components.get(to);
      if (!target) continue;
      const cut = gone.filter((each) => each.to === to);
      writeNeeds(
        document,
        target,
        target.needs.filter((each) => !cut.some((one) => one.from === each.id && one.port === each.port)),
      );
    }
  });
}

const mention = (id: string) => new RegExp(`(\\bcomponents\\s*\\.\\s*)${id}\\b`, 'g');
const bracketed = (id: string) => new RegExp(`(\\bcomponents\\s*\\[\\s*['"])${id}(['"]\\s*\\])`, 'g');

/** Renames a component: its key, connections from it, its place, and every expression that names it. */
export function rename(text: string, workflow: Workflow, from: string, to: string): string {
  const component = workflow.components.get(from);
  if (!component || from === to) return text;
  return edit(text, (document) => {
    visit(document, {
      Scalar(key, node) {
        if (key === 'key' || typeof node.value !== 'string' || !node.value.includes(from)) return;
        const next = node.value.replace(mention(from), `$1${to}`).replace(bracketed(from), `$1${to}$2`);
        if (next !== node.value) {
          node.value = next;
          delete node.source;
        }
      },
    });
    for (const each of workflow.components.values()) {
      // The components of a race are its ports.
      const renamesPort = (need: { id: string; port: string }) =>
        component.scope.parent !== null && need.id === component.scope.parent && need.port === from;
      if (!each.needs.some((need) => need.id === from || renamesPort(need))) continue;
      writeNeeds(
        document,
        each,
        each.needs.map((need) => ({ id: need.id === from ? to : need.id, port: renamesPort(need) ? to : need.port })),
      );
    }
    // A place that something of that id left behind is not its place.
    if (document.hasIn(['layout', to])) document.deleteIn(['layout', to]);
    for (const path of [component.path, ['layout', from]]) {
      const parent = document.getIn(path.slice(0, -1), true) as unknown;
      const pair = isMap(parent) ? parent.items.find((item) => keyOf(item) === from) : undefined;
      if (pair) pair.key = isScalar(pair.key) ? Object.assign(pair.key, { value: to, source: to }) : document.createNode(to);
    }
  });
}

/** Where a component stands, from itself outwards: what holds it, what holds that, and in which list each. */
function standing(workflow: Workflow, id: string, scopes: ReadonlyMap<string, Scope>): { id: string; scope: Scope }[] {
  const chain: { id: string; scope: Scope }[] = [];
  const seen = new Set<string>();
  for (let at: string | null = id; at !== null && !seen.has(at); ) {
    seen.add(at);
    const scope: Scope | undefined = scopes.get(at) ?? workflow.components.get(at)?.scope;
    if (!scope) break;
    chain.push({ id: at, scope });
    at = scope.parent;
  }
  return chain;
}

/** What moving components between containers did to connections. */
export interface Moved {
  text: string;
  /** Connections that could not stay as they were. */
  gone: Connection[];
  /** Those that stand for them now, between what holds the components. */
  made: Connection[];
}

/**
 * Moves components into another scope. Their ids stay, and so does the order of things.
 *
 * A connection that would leave its scope then leads from or to the container that stands in the same scope as its other
 * end. It goes without a successor where one end holds the other, where there is such a connection already, and where it
 * would close a circle.
 */
export function moveTo(text: string, workflow: Workflow, ids: string[], scope: Scope): Moved {
  const inside = withInside(workflow, ids);
  // Nothing can be put into itself, and what moves with its container need not move by itself.
  const moved = ids.filter((id) => {
    const component = workflow.components.get(id);
    if (!component || sameScope(component.scope, scope)) return false;
    return component.scope.parent === null || !inside.has(component.scope.parent);
  });
  if (moved.length === 0 || (scope.parent !== null && inside.has(scope.parent))) return { text, gone: [], made: [] };

  const scopes = new Map(moved.map((id) => [id, scope]));
  const needs = new Map([...workflow.components.values()].map((each) => [each.id, [...each.needs]]));
  const gone: Connection[] = [];
  for (const connection of workflow.connections) {
    const from = standing(workflow, connection.from, scopes)[0];
    const to = standing(workflow, connection.to, scopes)[0];
    if (!from || !to || (!scopes.has(connection.from) && !scopes.has(connection.to)) || sameScope(from.scope, to.scope)) continue;
    gone.push(connection);
    const list = needs.get(connection.to) ?? [];
    needs.set(
      connection.to,
      list.filter((each) => each.id !== connection.from || each.port !== connection.port),
    );
  }
  const comesBefore = (first: string, then: string): boolean => {
    const open = [then];
    const seen = new Set<string>();
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (id === first) return true;
      if (seen.has(id)) continue;
      seen.add(id);
      for (const each of needs.get(id) ?? []) open.push(each.id);
    }
    return false;
  };
  const made: Connection[] = [];
  for (const connection of gone) {
    const starts = standing(workflow, connection.from, scopes);
    const ends = standing(workflow, connection.to, scopes);
    const from = starts.find((start) => ends.some((end) => sameScope(start.scope, end.scope)));
    const to = from && ends.find((end) => sameScope(from.scope, end.scope));
    if (!from || !to || from.id === to.id) continue;
    const port = from.id === connection.from ? connection.port : 'success';
    const list = needs.get(to.id) ?? [];
    if (list.some((each) => each.id === from.id && each.port === port) || comesBefore(to.id, from.id)) continue;
    needs.set(to.id, [...list, { id: from.id, port }]);
    made.push({ from: from.id, port, to: to.id });
  }

  const next = edit(text, (document) => {
    const changed = new Set([...gone, ...made].map((each) => each.to));
    for (const id of changed) {
      const component = workflow.components.get(id);
      if (component) writeNeeds(document, component, needs.get(id) ?? []);
    }
    const target = mapAt(document, scopePath(workflow, scope));
    for (const id of moved) {
      const component = workflow.components.get(id);
      const parent = component && (document.getIn(component.path.slice(0, -1), true) as unknown);
      if (!isMap(parent)) continue;
      const index = parent.items.findIndex((item) => keyOf(item) === id);
      const [pair] = index < 0 ? [] : parent.items.splice(index, 1);
      if (target.flow && target.items.length === 0) target.flow = false;
      if (pair) target.items.push(pair as never);
      put(document, ['layout', id], undefined, 0);
    }
  });
  return { text: next, gone, made };
}

/** Components as a text that can be pasted here, into another workflow, or into an editor. */
export function copy(text: string, workflow: Workflow, ids: Iterable<string>): string {
  const chosen = new Set(ids);
  const top = [...chosen].filter((id) => {
    const parent = workflow.components.get(id)?.scope.parent;
    return parent === null || parent === undefined || !withInside(workflow, chosen).has(parent);
  });
  const document = parse(text);
  const fragment = new Document({ components: {} });
  const components = fragment.get('components', true) as unknown as YAMLMap;
  const layout: Record<string, Position> = {};
  for (const id of top) {
    const component = workflow.components.get(id);
    const node = component && (document.getIn(component.path, true) as Node | undefined);
    if (!node) continue;
    components.flow = false;
    components.set(id, node.clone() as Node);
    for (const inside of withInside(workflow, [id])) {
      const place = workflow.layout[inside];
      if (place) layout[inside] = place;
    }
  }
  if (Object.keys(layout).length > 0) {
    for (const [id, place] of Object.entries(layout)) putPosition(fragment, id, place);
  }
  return fragment.toString({ lineWidth: 0 });
}

/** Adds the components of a text to a scope. Ids that are taken get new ones, also in expressions and connections of what is pasted. */
export function paste(
  text: string,
  workflow: Workflow,
  scope: Scope,
  fragment: string,
  shift: Position = [40, 40],
): { text: string; added: string[] } | undefined {
  let given = read(fragment);
  if (given.mistake || given.workflow.components.size === 0) return undefined;
  const taken = new Set(workflow.components.keys());
  for (const id of [...given.workflow.components.keys()]) {
    const others = { has: (each: string) => taken.has(each) || (each !== id && given.workflow.components.has(each)) };
    if (!taken.has(id)) continue;
    const free = freeId(id.replace(/_\d+$/, ''), others);
    given = read(rename(given.text, given.workflow, id, free));
  }
  const here = new Set([...workflow.components.values()].filter((each) => sameScope(each.scope, scope)).map((each) => each.id));
  const source = parse(given.text);
  const added: string[] = [];
  const next = edit(text, (document) => {
    const target = mapAt(document, scopePath(workflow, scope));
    if (target.flow && target.items.length === 0) target.flow = false;
    for (const component of given.workflow.components.values()) {
      if (component.scope.parent !== null) continue;
      const node = source.getIn(component.path, true) as Node | undefined;
      if (!node) continue;
      const kept = component.needs.filter((each) => given.workflow.components.has(each.id) || here.has(each.id));
      if (kept.length !== component.needs.length) {
        if (kept.length === 0) source.deleteIn([...component.path, 'needs']);
        else source.setIn([...component.path, 'needs'], create(source, kept.map(({ id, port }) => needText(id, port))));
      }
      target.set(component.id, node.clone());
      added.push(component.id);
    }
    for (const [id, place] of Object.entries(given.workflow.layout)) {
      const isTop = given.workflow.components.get(id)?.scope.parent === null;
      putPosition(document, id, isTop ? [place[0] + shift[0], place[1] + shift[1]] : place);
    }
  });
  return { text: next, added };
}

/** The line, from 1, on which a place of the document stands; of the nearest thing above it that there is. */
export function lineOf(text: string, path: readonly string[]): number {
  const counter = new LineCounter();
  const document = parseDocument(text, { version: '1.2', prettyErrors: false, lineCounter: counter });
  let node = document.contents as unknown;
  let line = 1;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => keyOf(item) === part);
      if (!pair) break;
      const start = isScalar(pair.key) ? pair.key.range?.[0] : undefined;
      if (start !== undefined) line = counter.linePos(start).line;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      const start = (node as Node | undefined)?.range?.[0];
      if (start !== undefined) line = counter.linePos(start).line;
    } else break;
  }
  return line;
}

/** The component that a line of the text belongs to. */
export function componentAt(text: string, workflow: Workflow, line: number): string | undefined {
  let best: string | undefined;
  let bestLine = 0;
  const counter = new LineCounter();
  const document = parseDocument(text, { version: '1.2', prettyErrors: false, lineCounter: counter });
  for (const component of workflow.components.values()) {
    const parent = document.getIn(component.path.slice(0, -1), true) as unknown;
    const pair = isMap(parent) ? parent.items.find((item) => keyOf(item) === component.id) : undefined;
    const start = pair && isScalar(pair.key) ? pair.key.range?.[0] : undefined;
    const end = (pair?.value as Node | undefined)?.range?.[2];
    if (start === undefined) continue;
    const first = counter.linePos(start).line;
    const last = end === undefined ? first : counter.linePos(Math.max(start, end - 1)).line;
    if (first <= line && line <= last && first >= bestLine) {
      best = component.id;
      bestLine = first;
    }
  }
  return best;
}
