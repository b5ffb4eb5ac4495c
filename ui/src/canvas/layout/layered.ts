/** A box to be placed, and where it ended up: the upper left corner. */
export interface Box {
  id: string;
  width: number;
  height: number;
}
export interface Edge {
  from: string;
  to: string;
}
export interface Placed {
  x: number;
  y: number;
}

/** Between columns, and between boxes of one column, in pixels. */
export const GAP = { x: 72, y: 28 };

/** Between rows, where the connections from one to the next have their place. */
const ROW_GAP = 64;

/**
 * How much work goes into a layout, by its size: in a drawing of a thousand boxes nobody follows single lines, and it is not
 * to take longer than a blink.
 *
 * `sweeps` go over the columns to cross fewer connections, and `passes` to make them short, both with less and less gain.
 * Connections over more columns than `longest` take no part in the order: each would cost a bend a column.
 */
const EFFORT = { small: { sweeps: 8, passes: 6, longest: 12 }, large: { sweeps: 4, passes: 4, longest: 4 } };
/** From this many boxes on a layout is a large one. */
const LARGE = 1_000;

/** A box, or a bend of a connection that is longer than one column. */
interface Item {
  id: string | undefined;
  rank: number;
  width: number;
  height: number;
  before: Item[];
  after: Item[];
  order: number;
  y: number;
}

/**
 * Places boxes in columns so that connections lead to the right, cross seldom and are short.
 *
 * The same input gives the same places. Circles are broken for the drawing only. Boxes without connections stand in
 * the first column, in the order given. With `aspect`, what is much wider than that many times its height is broken
 * into rows, which are read like lines of a text.
 *
 * Source: K. Sugiyama, S. Tagawa, M. Toda, *Methods for Visual Understanding of Hierarchical System Structures*,
 * 1981; heights by pooling adjacent violators.
 */
export function layered(boxes: readonly Box[], edges: readonly Edge[], aspect?: number): Map<string, Placed> {
  const index = new Map(boxes.map((box, at) => [box.id, at]));
  const links = unique(edges.filter((edge) => edge.from !== edge.to && index.has(edge.from) && index.has(edge.to)));
  const forward = breakCircles(boxes, links);
  const ranks = rank(boxes, forward);
  const effort = boxes.length < LARGE ? EFFORT.small : EFFORT.large;
  const columns = build(boxes, forward, ranks, effort.longest);
  sort(columns, effort.sweeps);
  return place(columns, aspect, effort.passes);
}

function unique(edges: readonly Edge[]): Edge[] {
  const seen = new Set<string>();
  return edges.filter(({ from, to }) => {
    const key = `${from}\0${to}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Turns round the connections that close a circle. */
function breakCircles(boxes: readonly Box[], edges: readonly Edge[]): Edge[] {
  const out = new Map<string, string[]>(boxes.map((box) => [box.id, []]));
  for (const edge of edges) out.get(edge.from)?.push(edge.to);
  const state = new Map<string, 'open' | 'done'>();
  const turned = new Set<string>();
  // Depth first, without recursion: a chain may be thousands long.
  for (const { id: start } of boxes) {
    if (state.has(start)) continue;
    const stack: { id: string; next: number }[] = [{ id: start, next: 0 }];
    state.set(start, 'open');
    for (let top = stack[stack.length - 1]; top; top = stack[stack.length - 1]) {
      const to = out.get(top.id)?.[top.next];
      top.next += 1;
      if (to === undefined) {
        state.set(top.id, 'done');
        stack.pop();
      } else if (state.get(to) === 'open') {
        turned.add(`${top.id}\0${to}`);
      } else if (!state.has(to)) {
        state.set(to, 'open');
        stack.push({ id: to, next: 0 });
      }
    }
  }
  return unique(edges.map((edge) => (turned.has(`${edge.from}\0${edge.to}`) ? { from: edge.to, to: edge.from } : edge)));
}

/** The column of each box: one after the last of those before it; then as near to those after it as it may stand. */
function rank(boxes: readonly Box[], edges: readonly Edge[]): Map<string, number> {
  const before = new Map<string, number>(boxes.map((box) => [box.id, 0]));
  const out = new Map<string, string[]>(boxes.map((box) => [box.id, []]));
  for (const { from, to } of edges) {
    before.set(to, (before.get(to) ?? 0) + 1);
    out.get(from)?.push(to);
  }
  const ranks = new Map<string, number>(boxes.map((box) => [box.id, 0]));
  const order: string[] = boxes.filter((box) => before.get(box.id) === 0).map((box) => box.id);
  for (let at = 0; at < order.length; at += 1) {
    const id = order[at]!;
    for (const to of out.get(id) ?? []) {
      ranks.set(to, Math.max(ranks.get(to) ?? 0, (ranks.get(id) ?? 0) + 1));
      const left = (before.get(to) ?? 1) - 1;
      before.set(to, left);
      if (left === 0) order.push(to);
    }
  }
  // A box that nothing leads to stands right before what it leads to, rather than far away in the first column.
  const hasBefore = new Set(edges.map((edge) => edge.to));
  for (const id of order) {
    const after = out.get(id) ?? [];
    if (hasBefore.has(id) || after.length === 0) continue;
    ranks.set(id, Math.max(0, Math.min(...after.map((to) => ranks.get(to) ?? 0)) - 1));
  }
  return ranks;
}

function build(boxes: readonly Box[], edges: readonly Edge[], ranks: Map<string, number>, longest: number): Item[][] {
  const columns: Item[][] = [];
  const put = (item: Item) => {
    const column = (columns[item.rank] ??= []);
    item.order = column.length;
    column.push(item);
    return item;
  };
  const items = new Map<string, Item>();
  for (const box of boxes) {
    const item = { ...box, rank: ranks.get(box.id) ?? 0, before: [], after: [], order: 0, y: 0 };
    items.set(box.id, put(item));
  }
  const link = (from: Item, to: Item) => {
    from.after.push(to);
    to.before.push(from);
  };
  for (const edge of edges) {
    const from = items.get(edge.from);
    const to = items.get(edge.to);
    if (!from || !to || to.rank - from.rank > longest) continue;
    let last = from;
    for (let at = from.rank + 1; at < to.rank; at += 1) {
      const bend = put({ id: undefined, rank: at, width: 0, height: 0, before: [], after: [], order: 0, y: 0 });
      link(last, bend);
      last = bend;
    }
    link(last, to);
  }
  for (let at = 0; at < columns.length; at += 1) columns[at] ??= [];
  return columns;
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function sort(columns: Item[][], sweeps: number): void {
  let best = columns.map((column) => [...column]);
  let fewest = crossings(columns);
  for (let sweep = 0; sweep < sweeps && fewest > 0; sweep += 1) {
    const down = sweep % 2 === 0;
    for (let step = 1; step < columns.length; step += 1) {
      const column = columns[down ? step : columns.length - 1 - step]!;
      const weight = new Map(
        column.map((item) => {
          const near = down ? item.before : item.after;
          return [item, near.length === 0 ? item.order : mean(near.map((each) => each.order))];
        }),
      );
      column.sort((a, b) => weight.get(a)! - weight.get(b)! || a.order - b.order);
      column.forEach((item, order) => (item.order = order));
    }
    const now = crossings(columns);
    if (now < fewest) {
      fewest = now;
      best = columns.map((column) => [...column]);
    }
  }
  best.forEach((column, at) => {
    columns[at] = column;
    column.forEach((item, order) => (item.order = order));
  });
}

/** How many pairs of connections between neighbouring columns cross. */
export function crossings(columns: Item[][]): number {
  let count = 0;
  for (const [at, column] of columns.entries()) {
    const size = columns[at + 1]?.length ?? 0;
    if (size === 0) continue;
    // Counts inversions with a binary indexed tree.
    const tree = new Array<number>(size + 1).fill(0);
    let seen = 0;
    for (const item of column) {
      const ends = item.after.map((to) => to.order).sort((a, b) => a - b);
      for (const end of ends) {
        let notAfter = 0;
        for (let i = end + 1; i > 0; i -= i & -i) notAfter += tree[i]!;
        count += seen - notAfter;
      }
      for (const end of ends) {
        for (let i = end + 1; i <= size; i += i & -i) tree[i]! += 1;
        seen += 1;
      }
    }
  }
  return count;
}

/** Height that a bend of a connection keeps free. */
const BEND = 12;
const tall = (item: Item) => (item.id === undefined ? BEND : item.height);
const centre = (item: Item) => item.y + tall(item) / 2;

/** The heights nearest to those wished for at which nothing overlaps, in the order given. */
function settle(column: Item[], wished: number[]): void {
  const offsets: number[] = [];
  let offset = 0;
  column.forEach((item, at) => {
    if (at > 0) offset += tall(column[at - 1]!) + (item.id === undefined && column[at - 1]!.id === undefined ? GAP.y / 3 : GAP.y);
    offsets.push(offset);
  });
  // Pools: runs that would overlap move together, to the mean of what they wish.
  const pools: { sum: number; count: number }[] = [];
  column.forEach((item, at) => {
    let pool = { sum: wished[at]! - tall(item) / 2 - offsets[at]!, count: 1 };
    for (let last = pools[pools.length - 1]; last && last.sum / last.count > pool.sum / pool.count; last = pools[pools.length - 1]) {
      pools.pop();
      pool = { sum: pool.sum + last.sum, count: pool.count + last.count };
    }
    pools.push(pool);
  });
  let at = 0;
  for (const pool of pools) {
    for (let i = 0; i < pool.count; i += 1, at += 1) column[at]!.y = pool.sum / pool.count + offsets[at]!;
  }
}

/** Where each row begins: at columns that few connections lead into, about evenly apart. */
function rowsOf(columns: Item[][], aspect: number | undefined): number[] {
  const width = columns.reduce((sum, column) => sum + Math.max(0, ...column.map((item) => item.width)) + GAP.x, 0);
  const tops = columns.flatMap((column) => column.map((item) => item.y));
  const height = Math.max(...columns.flatMap((column) => column.map((item) => item.y + tall(item)))) - Math.min(...tops) + ROW_GAP;
  if (aspect === undefined || columns.length < 7) return [0];
  const count = Math.min(Math.round(Math.sqrt(width / (aspect * height))), Math.floor(columns.length / 3));
  const starts = [0];
  for (let row = 1; row < count; row += 1) {
    const ideal = Math.round((row * columns.length) / count);
    let best = ideal;
    for (const near of [ideal, ideal + 1, ideal - 1]) {
      const into = (at: number) => columns[at]?.reduce((sum, item) => sum + item.before.length, 0) ?? Number.POSITIVE_INFINITY;
      if (near - (starts[starts.length - 1] ?? 0) >= 2 && into(near) < into(best)) best = near;
    }
    starts.push(best);
  }
  return starts;
}

function place(columns: Item[][], aspect: number | undefined, passes: number): Map<string, Placed> {
  for (const column of columns) settle(column, column.map(() => 0));
  for (let pass = 0; pass < passes; pass += 1) {
    const order = pass % 2 === 0 ? columns : [...columns].reverse();
    for (const column of order) {
      settle(
        column,
        column.map((item) => {
          const near = pass % 2 === 0 ? item.before : item.after;
          const all = near.length > 0 ? near : [...item.before, ...item.after];
          return all.length === 0 ? centre(item) : mean(all.map(centre));
        }),
      );
    }
  }
  const placed = new Map<string, Placed>();
  const starts = rowsOf(columns, aspect);
  let bottom = 0;
  for (const [row, start] of starts.entries()) {
    const band = columns.slice(start, starts[row + 1]);
    const boxes = band.flatMap((column) => column.filter((item) => item.id !== undefined));
    const top = Math.min(...boxes.map((item) => item.y));
    let x = 0;
    for (const column of band) {
      const width = Math.max(0, ...column.map((item) => item.width));
      for (const item of column) {
        if (item.id === undefined) continue;
        placed.set(item.id, { x: Math.round(x + (width - item.width) / 2), y: Math.round(bottom + item.y - top) });
      }
      x += width + GAP.x;
    }
    bottom += Math.max(0, ...boxes.map((item) => item.y + item.height - top)) + ROW_GAP;
  }
  return placed;
}
