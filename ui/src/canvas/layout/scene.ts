import { layered, type Box, type Edge, type Placed } from './layered';

/** What is to be drawn, without anything that a worker cannot be sent. */
export interface Graph {
  /** The container whose inside is drawn; null for the whole workflow. */
  root: string | null;
  /** Containers before what they hold. */
  parts: Part[];
  edges: Edge[];
}

export interface Part {
  id: string;
  /** The container it stands in, or null. */
  parent: string | null;
  /** The list of its container, or of the workflow. */
  scope: string;
  isContainer: boolean;
  /** Ports that are drawn. */
  ports: string[];
}

export type Positions = Readonly<Record<string, readonly [number, number]>>;

/** Something with a place: a component, a container, or a further list of one (`catch`, `finally`). */
export interface Item {
  id: string;
  kind: 'component' | 'container' | 'scope';
  /** The item it is drawn in; `x` and `y` count from there. */
  parent: string | undefined;
  x: number;
  y: number;
  width: number;
  height: number;
  /** Where its list begins inside what it is drawn in: its own position in the document counts from there. */
  origin: readonly [x: number, y: number];
}

/** Sizes in pixels. The canvas draws components with just these, so that what is placed is what is seen. */
export const SIZE = { width: 208, head: 46, port: 20, frameTop: 38, frameHead: 44, pad: 20, gap: 28, emptyWidth: 208, emptyHeight: 64 };

/** Whether ports are drawn as a list below the head; a single `success` stands at its middle. */
export function hasPortList(ports: readonly string[]): boolean {
  return ports.length > 1 || (ports[0] !== undefined && ports[0] !== 'success');
}

function portsHeight(ports: readonly string[]): number {
  return hasPortList(ports) ? ports.length * SIZE.port + 6 : 0;
}

/** The id under which a further list of a container is drawn; of the workflow when there is no container. */
export function scopeId(parent: string | null, scope: string): string {
  return `${parent ?? ''}#${scope}`;
}

/** Finds a place for everything. What has a position keeps it; a list without any is laid out. */
export function arrange(graph: Graph, positions: Positions): Item[] {
  const lists = new Map<string, Part[]>();
  for (const part of graph.parts) {
    const key = scopeId(part.parent, part.scope);
    const list = lists.get(key);
    if (list) list.push(part);
    else lists.set(key, [part]);
  }
  const items: Item[] = [];

  /** Places one list and gives its size; what it holds is placed first, because its size is needed. */
  const list = (parent: string | null, scope: string, into: string | undefined, left: number, top: number) => {
    const parts = lists.get(scopeId(parent, scope)) ?? [];
    const inside = new Map<string, Item[]>();
    const boxes: Box[] = parts.map((part) => {
      if (!part.isContainer) return { id: part.id, width: SIZE.width, height: SIZE.head + portsHeight(part.ports) };
      const before = items.length;
      const size = frame(part);
      inside.set(part.id, items.splice(before));
      return { id: part.id, ...size };
    });
    const ids = new Set(parts.map((part) => part.id));
    const places = placeList(boxes, graph.edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to)), positions, parent === null && scope === 'components');
    let width = 0;
    let height = 0;
    parts.forEach((part, at) => {
      const box = boxes[at]!;
      const place = places.get(part.id) ?? { x: 0, y: 0 };
      items.push({
        id: part.id,
        kind: part.isContainer ? 'container' : 'component',
        parent: into,
        x: left + place.x,
        y: top + place.y,
        width: box.width,
        height: box.height,
        origin: [left, top],
      });
      items.push(...(inside.get(part.id) ?? []));
      width = Math.max(width, place.x + box.width);
      height = Math.max(height, place.y + box.height);
    });
    return { width, height, count: parts.length };
  };

  const furtherScopes = (parent: string | null): string[] => {
    const names = parent === null ? ['on_failure', 'finally'] : ['catch', 'finally'];
    return names.filter((name) => lists.has(scopeId(parent, name)));
  };

  /** Places further lists below one another, each in a frame of its own. */
  const further = (parent: string | null, into: string | undefined, left: number, top: number) => {
    let width = 0;
    let bottom = top;
    for (const scope of furtherScopes(parent)) {
      const id = scopeId(parent, scope);
      const at = items.push({ id, kind: 'scope', parent: into, x: left, y: bottom, width: 0, height: 0, origin: [left, bottom] }) - 1;
      const size = list(parent, scope, id, SIZE.pad, SIZE.frameHead);
      const frameItem = items[at]!;
      frameItem.width = size.width + 2 * SIZE.pad;
      frameItem.height = size.height + SIZE.frameHead + SIZE.pad;
      width = Math.max(width, frameItem.width);
      bottom += frameItem.height + SIZE.gap;
    }
    return { width, height: bottom === top ? 0 : bottom - top - SIZE.gap };
  };

  const frame = (part: Part): { width: number; height: number } => {
    const head = Math.max(SIZE.frameHead, SIZE.frameTop + portsHeight(part.ports));
    const own = list(part.id, 'components', part.id, SIZE.pad, head);
    const rest = further(part.id, part.id, SIZE.pad, head + own.height + (own.count > 0 ? SIZE.gap : 0));
    const isEmpty = own.count === 0 && rest.height === 0;
    const width = Math.max(own.width, rest.width, SIZE.emptyWidth) + 2 * SIZE.pad;
    const inner = isEmpty ? SIZE.emptyHeight : own.height + (rest.height > 0 ? rest.height + (own.count > 0 ? SIZE.gap : 0) : 0);
    return { width, height: head + inner + SIZE.pad };
  };

  const body = list(graph.root, 'components', undefined, 0, 0);
  const lowest = Math.max(0, ...items.filter((item) => item.parent === undefined).map((item) => item.y + item.height));
  further(graph.root, undefined, 0, (body.count > 0 ? lowest : 0) + SIZE.gap * 2);
  return items;
}

/** The middles of the empty stripes between rows of a drawing, from top to bottom. */
export function lanes(items: readonly Item[]): number[] {
  const taken = items
    .filter((item) => item.parent === undefined)
    .map((item) => [item.y, item.y + item.height] as const)
    .sort((a, b) => a[0] - b[0]);
  const found: number[] = [];
  let bottom = taken[0]?.[1] ?? 0;
  for (const [top, end] of taken) {
    if (top - bottom > 24) found.push((top + bottom) / 2);
    bottom = Math.max(bottom, end);
  }
  return found;
}

/**
 * The stripe above the row that a connection back to the left leads to, for each that does; those of one stripe stand side
 * by side.
 */
export function lanesOf<L extends Edge>(items: readonly Item[], lines: readonly L[]): Map<L, number> {
  const free = lanes(items);
  const at = new Map(items.filter((item) => item.parent === undefined).map((item) => [item.id, item]));
  const used = new Map<number, number>();
  const found = new Map<L, number>();
  for (const line of lines) {
    const from = at.get(line.from);
    const to = at.get(line.to);
    if (!from || !to || to.x >= from.x + from.width) continue;
    const lane = free.findLast((each) => each < to.y + SIZE.head && each > from.y);
    if (lane === undefined) continue;
    const count = used.get(lane) ?? 0;
    used.set(lane, count + 1);
    found.set(line, lane + (count % 2 === 0 ? 1 : -1) * Math.ceil(count / 2) * 7);
  }
  return found;
}

/** How many times wider than high a drawing may be before it is broken into rows. */
const ASPECT = 1.6;

const overlap = (a: Placed & Box, b: Placed & Box) =>
  a.x < b.x + b.width + 16 && b.x < a.x + a.width + 16 && a.y < b.y + b.height + 16 && b.y < a.y + a.height + 16;

function placeList(boxes: Box[], edges: Edge[], positions: Positions, isFree: boolean): Map<string, Placed> {
  const fixed = boxes.filter((box) => positions[box.id]);
  if (fixed.length === 0) return layered(boxes, edges, isFree ? ASPECT : undefined);
  const places = new Map<string, Placed>();
  for (const box of fixed) {
    const [x, y] = positions[box.id]!;
    // Inside a frame nothing stands left of or above its edge.
    places.set(box.id, isFree ? { x, y } : { x: Math.max(0, x), y: Math.max(0, y) });
  }
  const byId = new Map(boxes.map((box) => [box.id, box]));
  const before = new Map<string, string[]>();
  for (const { from, to } of edges) {
    const known = before.get(to);
    if (known) known.push(from);
    else before.set(to, [from]);
  }
  const others = [...places].map(([id, place]) => ({ ...byId.get(id)!, ...place }));
  for (const box of boxes) {
    if (places.has(box.id)) continue;
    const from = before.get(box.id)?.find((each) => places.has(each));
    const near = from === undefined ? undefined : places.get(from);
    const spot = near && from !== undefined ? { x: near.x + byId.get(from)!.width + 72, y: near.y } : { x: 0, y: 0 };
    let hit = others.find((other) => overlap({ ...box, ...spot }, other));
    while (hit) {
      spot.y = hit.y + hit.height + 28;
      hit = others.find((other) => overlap({ ...box, ...spot }, other));
    }
    places.set(box.id, spot);
    others.push({ ...box, ...spot });
  }
  return places;
}
