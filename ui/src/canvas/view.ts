import type { Item } from './layout/scene';

/** A rectangle on the drawing. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** An item's rectangle, counted from the drawing and not from its container; `depth` is 1 for what stands in none. */
export interface Box extends Rect {
  id: string;
  kind: Item['kind'];
  depth: number;
}

/** What is seen: a point of the drawing stands at `point * zoom + (x, y)` of the window onto it. */
export interface View {
  x: number;
  y: number;
  zoom: number;
}

/** Where everything stands on the drawing, in the order of the items: containers before what they hold. */
export function boxesOf(items: readonly Item[]): Map<string, Box> {
  const found = new Map<string, Box>();
  for (const { id, kind, parent, x, y, width, height } of items) {
    const around = parent === undefined ? undefined : found.get(parent);
    found.set(id, { id, kind, x: x + (around?.x ?? 0), y: y + (around?.y ?? 0), width, height, depth: (around?.depth ?? 0) + 1 });
  }
  return found;
}

/** The smallest rectangle around all of them; undefined when there are none. */
export function around(boxes: Iterable<Rect>): Rect | undefined {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y, width, height } of boxes) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + width);
    bottom = Math.max(bottom, y + height);
  }
  return left === Infinity ? undefined : { x: left, y: top, width: right - left, height: bottom - top };
}

/** The view that has a rectangle in its middle, as large as it may be drawn, with a tenth of the room left free. */
export function viewOf(rect: Rect | undefined, room: { width: number; height: number }, zooms: { min: number; max: number }): View {
  if (!rect || room.width === 0 || room.height === 0) return { x: 0, y: 0, zoom: 1 };
  const wanted = 0.9 * Math.min(room.width / Math.max(1, rect.width), room.height / Math.max(1, rect.height));
  const zoom = Math.min(zooms.max, Math.max(zooms.min, wanted));
  return {
    x: room.width / 2 - (rect.x + rect.width / 2) * zoom,
    y: room.height / 2 - (rect.y + rect.height / 2) * zoom,
    zoom,
  };
}

/** The innermost of what stands at a point. */
export function boxAt(boxes: Iterable<Box>, x: number, y: number): Box | undefined {
  let best: Box | undefined;
  for (const box of boxes) {
    const isIn = x >= box.x && y >= box.y && x <= box.x + box.width && y <= box.y + box.height;
    if (isIn && box.depth >= (best?.depth ?? 0)) best = box;
  }
  return best;
}

/** Whether two rectangles have a point in common. */
export function meets(a: Rect, b: Rect): boolean {
  return a.x <= b.x + b.width && b.x <= a.x + a.width && a.y <= b.y + b.height && b.y <= a.y + a.height;
}

/** Below this zoom a large drawing is an overview; it is one until a little above it, so that it does not flicker between. */
const FAR = { below: 0.35, until: 0.4 };

/** Whether a large drawing is seen from so far that single components are not drawn any more. */
export function isFar(zoom: number, wasFar: boolean): boolean {
  return zoom < (wasFar ? FAR.until : FAR.below);
}

/** How far what is kept in the page reaches beyond what is seen, as a part of that, to each side. */
const MARGIN = 0.5;

/**
 * The part of the drawing whose components are kept in the page: what is seen and some of what is around it.
 *
 * The same object as long as it holds what is seen and is not much larger than that.
 */
export function regionOf(view: View, room: { width: number; height: number }, before: Rect | undefined): Rect {
  const seen = { x: -view.x / view.zoom, y: -view.y / view.zoom, width: room.width / view.zoom, height: room.height / view.zoom };
  const holds =
    before !== undefined &&
    before.x <= seen.x &&
    before.y <= seen.y &&
    before.x + before.width >= seen.x + seen.width &&
    before.y + before.height >= seen.y + seen.height;
  if (holds && before.width <= seen.width * (1 + 2 * MARGIN) * 1.5) return before;
  return {
    x: seen.x - seen.width * MARGIN,
    y: seen.y - seen.height * MARGIN,
    width: seen.width * (1 + 2 * MARGIN),
    height: seen.height * (1 + 2 * MARGIN),
  };
}

/** Pieces that the curve of a connection is looked at in. */
const PIECES = 12;

/** Whether a connection, as it is drawn, has a part in a region. `lane` is the stripe along which one leads back to the left. */
export function passes(region: Rect, from: Rect, to: Rect, middle: number, lane: number | undefined): boolean {
  const [sx, sy, ex, ey] = [from.x + from.width, from.y + middle, to.x, to.y + middle];
  const piece = (ax: number, ay: number, bx: number, by: number) =>
    meets(region, { x: Math.min(ax, bx), y: Math.min(ay, by), width: Math.abs(ax - bx), height: Math.abs(ay - by) });
  if (!piece(Math.min(sx, ex) - 22, Math.min(sy, ey, lane ?? sy), Math.max(sx, ex) + 22, Math.max(sy, ey, lane ?? sy) + from.height)) return false;
  if (ex < sx) {
    const along = lane ?? (sy + ey) / 2;
    return piece(sx, sy, sx + 22, along) || piece(sx + 22, along, ex - 22, along) || piece(ex - 22, along, ex, ey);
  }
  const half = (sx + ex) / 2;
  let [px, py] = [sx, sy];
  for (let at = 1; at <= PIECES; at += 1) {
    const t = at / PIECES;
    const u = 1 - t;
    const x = u * u * u * sx + 3 * u * u * t * half + 3 * u * t * t * half + t * t * t * ex;
    const y = u * u * u * sy + 3 * u * u * t * sy + 3 * u * t * t * ey + t * t * t * ey;
    if (piece(px, py, x, y)) return true;
    [px, py] = [x, y];
  }
  return false;
}
