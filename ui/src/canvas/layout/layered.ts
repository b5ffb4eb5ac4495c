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

/** Height that a bend of a connection keeps free. */
const BEND = 12;

/**
 * A drawing while it is laid out: boxes, and the bends of connections that are longer than one column, by their numbers. It
 * stands in arrays of numbers: all of it is gone through a few times only, and objects would take longer to make than that.
 */
interface Drawing {
  /** Boxes have the first numbers, bends those after. */
  boxes: number;
  width: Float64Array;
  /** What is kept free; for a bend that is more than nothing. */
  tall: Float64Array;
  before: Neighbours;
  after: Neighbours;
  /** Column by column, what stands in it, from top to bottom. */
  slots: Int32Array;
  /** Where each column begins in `slots`, and where the last one ends. */
  starts: Int32Array;
  /** The place of each in its column. */
  order: Int32Array;
  /** How many the highest column holds. */
  highest: number;
}

/** Those next to each item: the ones of `item` stand in `of`, from `from[item]` to before `from[item + 1]`. */
interface Neighbours {
  from: Int32Array;
  of: Int32Array;
}

/** Connections between boxes, by their numbers. */
interface Links {
  from: Int32Array;
  to: Int32Array;
  count: number;
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
  const links = forward(linksOf(boxes, edges), boxes.length);
  const effort = boxes.length < LARGE ? EFFORT.small : EFFORT.large;
  const drawing = build(boxes, links, rank(boxes.length, links), effort.longest);
  sort(drawing, effort.sweeps);
  return place(boxes, drawing, aspect, effort.passes);
}

/** The connections that lead from one box to another, each once. */
function linksOf(boxes: readonly Box[], edges: readonly Edge[]): Links {
  const index = new Map<string, number>();
  for (let at = 0; at < boxes.length; at += 1) index.set(boxes[at]!.id, at);
  const links = { from: new Int32Array(edges.length), to: new Int32Array(edges.length), count: 0 };
  for (const edge of edges) {
    const from = index.get(edge.from);
    const to = index.get(edge.to);
    if (from === undefined || to === undefined || from === to) continue;
    links.from[links.count] = from;
    links.to[links.count] = to;
    links.count += 1;
  }
  return once(links, boxes.length);
}

/** Which links begin at each box, in their order. */
function beginning({ from, count }: Links, boxes: number): Neighbours {
  const starts = new Int32Array(boxes + 1);
  for (let link = 0; link < count; link += 1) starts[from[link]! + 1]! += 1;
  for (let box = 0; box < boxes; box += 1) starts[box + 1]! += starts[box]!;
  const next = starts.slice();
  const of = new Int32Array(count);
  for (let link = 0; link < count; link += 1) of[next[from[link]!]!++] = link;
  return { from: starts, of };
}

/** Leaves out what was there before. The others keep their order. */
function once(links: Links, boxes: number): Links {
  const { from, to, count } = links;
  const out = beginning(links, boxes);
  const isAgain = new Uint8Array(count);
  // The last box from which a connection to this one was seen.
  const seen = new Int32Array(boxes).fill(-1);
  for (const link of out.of) {
    if (seen[to[link]!] === from[link]) isAgain[link] = 1;
    seen[to[link]!] = from[link]!;
  }
  let kept = 0;
  for (let link = 0; link < count; link += 1) {
    if (isAgain[link] === 1) continue;
    from[kept] = from[link]!;
    to[kept] = to[link]!;
    kept += 1;
  }
  links.count = kept;
  return links;
}

/** Turns round the connections that close a circle. */
function forward(links: Links, boxes: number): Links {
  const { from, to } = links;
  const out = beginning(links, boxes);
  const next = out.from.slice();
  /** 0: not seen, 1: on the way to it, 2: done. */
  const state = new Uint8Array(boxes);
  const way = new Int32Array(boxes);
  let hasTurned = false;
  // Depth first, without recursion: a chain may be thousands long.
  for (let start = 0; start < boxes; start += 1) {
    if (state[start] !== 0) continue;
    let depth = 0;
    way[0] = start;
    state[start] = 1;
    while (depth >= 0) {
      const box = way[depth]!;
      const at = next[box]!++;
      if (at >= out.from[box + 1]!) {
        state[box] = 2;
        depth -= 1;
        continue;
      }
      const link = out.of[at]!;
      const end = to[link]!;
      if (state[end] === 1) {
        from[link] = end;
        to[link] = box;
        hasTurned = true;
      } else if (state[end] === 0) {
        state[end] = 1;
        depth += 1;
        way[depth] = end;
      }
    }
  }
  return hasTurned ? once(links, boxes) : links;
}

/** The column of each box: one after the last of those before it; then as near to those after it as it may stand. */
function rank(boxes: number, links: Links): Int32Array {
  const { to, count } = links;
  const out = beginning(links, boxes);
  const open = new Int32Array(boxes);
  for (let link = 0; link < count; link += 1) open[to[link]!]! += 1;
  const hasBefore = open.slice();
  const ranks = new Int32Array(boxes);
  const order = new Int32Array(boxes);
  let known = 0;
  for (let box = 0; box < boxes; box += 1) if (open[box] === 0) order[known++] = box;
  for (let at = 0; at < known; at += 1) {
    const box = order[at]!;
    for (let each = out.from[box]!; each < out.from[box + 1]!; each += 1) {
      const end = to[out.of[each]!]!;
      if (ranks[end]! <= ranks[box]!) ranks[end] = ranks[box]! + 1;
      open[end]! -= 1;
      if (open[end] === 0) order[known++] = end;
    }
  }
  // A box that nothing leads to stands right before what it leads to, rather than far away in the first column.
  for (let at = 0; at < known; at += 1) {
    const box = order[at]!;
    if (hasBefore[box]! > 0 || out.from[box] === out.from[box + 1]) continue;
    let nearest = Number.POSITIVE_INFINITY;
    for (let each = out.from[box]!; each < out.from[box + 1]!; each += 1) nearest = Math.min(nearest, ranks[to[out.of[each]!]!]!);
    ranks[box] = Math.max(0, nearest - 1);
  }
  return ranks;
}

function build(boxes: readonly Box[], { from, to, count }: Links, ranks: Int32Array, longest: number): Drawing {
  // What there will be: bends and steps from one column to the next.
  let items = boxes.length;
  let steps = 0;
  let columns = 0;
  for (const rank of ranks) columns = Math.max(columns, rank + 1);
  for (let link = 0; link < count; link += 1) {
    const length = ranks[to[link]!]! - ranks[from[link]!]!;
    if (length > longest) continue;
    items += length - 1;
    steps += length;
  }
  const column = new Int32Array(items);
  const width = new Float64Array(items);
  const tall = new Float64Array(items).fill(BEND, boxes.length);
  for (let box = 0; box < boxes.length; box += 1) {
    column[box] = ranks[box]!;
    width[box] = boxes[box]!.width;
    tall[box] = boxes[box]!.height;
  }
  const left = new Int32Array(steps);
  const right = new Int32Array(steps);
  let item = boxes.length;
  let step = 0;
  for (let link = 0; link < count; link += 1) {
    const begin = ranks[from[link]!]!;
    const end = ranks[to[link]!]!;
    if (end - begin > longest) continue;
    let last = from[link]!;
    for (let at = begin + 1; at < end; at += 1) {
      column[item] = at;
      left[step] = last;
      right[step] = item;
      last = item;
      item += 1;
      step += 1;
    }
    left[step] = last;
    right[step] = to[link]!;
    step += 1;
  }
  const starts = new Int32Array(columns + 1);
  for (const at of column) starts[at + 1]! += 1;
  let highest = 0;
  for (let at = 0; at < columns; at += 1) {
    highest = Math.max(highest, starts[at + 1]!);
    starts[at + 1]! += starts[at]!;
  }
  const next = starts.slice();
  const slots = new Int32Array(items);
  const order = new Int32Array(items);
  for (let each = 0; each < items; each += 1) {
    const at = column[each]!;
    order[each] = next[at]! - starts[at]!;
    slots[next[at]!++] = each;
  }
  return { boxes: boxes.length, width, tall, before: neighbours(items, right, left), after: neighbours(items, left, right), slots, starts, order, highest };
}

function neighbours(items: number, own: Int32Array, other: Int32Array): Neighbours {
  const from = new Int32Array(items + 1);
  for (const item of own) from[item + 1]! += 1;
  for (let item = 0; item < items; item += 1) from[item + 1]! += from[item]!;
  const next = from.slice();
  const of = new Int32Array(own.length);
  for (let step = 0; step < own.length; step += 1) of[next[own[step]!]!++] = other[step]!;
  return { from, of };
}

/** Up to so many are sorted by putting each in its place; more than that would take long. */
const FEW = 24;

function sort(drawing: Drawing, sweeps: number): void {
  const { slots, starts, order } = drawing;
  const columns = starts.length - 1;
  const best = slots.slice();
  const weight = new Float64Array(slots.length);
  const count = counter(drawing);
  const compare = (a: number, b: number) => weight[a]! - weight[b]! || order[a]! - order[b]!;
  let fewest = count();
  for (let sweep = 0; sweep < sweeps && fewest > 0; sweep += 1) {
    const down = sweep % 2 === 0;
    const { from, of } = down ? drawing.before : drawing.after;
    for (let step = 1; step < columns; step += 1) {
      const column = down ? step : columns - 1 - step;
      const begin = starts[column]!;
      const end = starts[column + 1]!;
      let isSorted = true;
      for (let slot = begin; slot < end; slot += 1) {
        const item = slots[slot]!;
        const first = from[item]!;
        const last = from[item + 1]!;
        let sum = 0;
        for (let each = first; each < last; each += 1) sum += order[of[each]!]!;
        weight[item] = first === last ? slot - begin : sum / (last - first);
        if (slot > begin && weight[slots[slot - 1]!]! > weight[item]!) isSorted = false;
      }
      if (isSorted) continue;
      if (end - begin > FEW) slots.subarray(begin, end).sort(compare);
      else {
        // Those of the same weight keep their order.
        for (let slot = begin + 1; slot < end; slot += 1) {
          const item = slots[slot]!;
          const own = weight[item]!;
          let to = slot;
          for (; to > begin && weight[slots[to - 1]!]! > own; to -= 1) slots[to] = slots[to - 1]!;
          slots[to] = item;
        }
      }
      for (let slot = begin; slot < end; slot += 1) order[slots[slot]!] = slot - begin;
    }
    const now = count();
    if (now < fewest) {
      fewest = now;
      best.set(slots);
    }
  }
  slots.set(best);
  for (let column = 0; column < columns; column += 1) {
    for (let slot = starts[column]!; slot < starts[column + 1]!; slot += 1) order[slots[slot]!] = slot - starts[column]!;
  }
}

/** Counts how many pairs of connections between neighbouring columns cross. */
function counter({ slots, starts, order, after: { from, of }, highest }: Drawing): () => number {
  const tree = new Int32Array(highest + 1);
  let ends = new Int32Array(16);
  return () => {
    let count = 0;
    for (let column = 0; column + 2 < starts.length; column += 1) {
      const size = starts[column + 2]! - starts[column + 1]!;
      // Counts inversions with a binary indexed tree.
      tree.fill(0, 0, size + 1);
      let seen = 0;
      for (let slot = starts[column]!; slot < starts[column + 1]!; slot += 1) {
        const item = slots[slot]!;
        const first = from[item]!;
        const many = from[item + 1]! - first;
        // Those of one box do not cross one another: they are counted before they are put in.
        for (let each = 0; each < many; each += 1) {
          const end = order[of[first + each]!]! + 1;
          let notAfter = 0;
          for (let i = end; i > 0; i -= i & -i) notAfter += tree[i]!;
          count += seen - notAfter;
          if (each >= ends.length) {
            const more = new Int32Array(2 * ends.length);
            more.set(ends);
            ends = more;
          }
          ends[each] = end;
        }
        for (let each = 0; each < many; each += 1) {
          for (let i = ends[each]!; i <= size; i += i & -i) tree[i]! += 1;
        }
        seen += many;
      }
    }
    return count;
  };
}

/** Gives columns heights: nothing overlaps, and the order given stays. */
function settler({ boxes, slots, starts, tall, highest }: Drawing, y: Float64Array) {
  const offsets = new Float64Array(highest);
  const sums = new Float64Array(highest);
  const counts = new Int32Array(highest);
  /** Takes the middles that those of a column wish for, and gives the nearest heights to that. */
  return (column: number, wished: Float64Array) => {
    const begin = starts[column]!;
    const many = starts[column + 1]! - begin;
    let offset = 0;
    // Pools: runs that would overlap move together, to the mean of what they wish.
    let pools = 0;
    for (let at = 0; at < many; at += 1) {
      const item = slots[begin + at]!;
      if (at > 0) {
        const above = slots[begin + at - 1]!;
        offset += tall[above]! + (item >= boxes && above >= boxes ? GAP.y / 3 : GAP.y);
      }
      offsets[at] = offset;
      let sum = wished[at]! - tall[item]! / 2 - offset;
      let count = 1;
      while (pools > 0 && sums[pools - 1]! / counts[pools - 1]! > sum / count) {
        pools -= 1;
        sum += sums[pools]!;
        count += counts[pools]!;
      }
      sums[pools] = sum;
      counts[pools] = count;
      pools += 1;
    }
    let at = 0;
    for (let pool = 0; pool < pools; pool += 1) {
      const height = sums[pool]! / counts[pool]!;
      for (let i = 0; i < counts[pool]!; i += 1, at += 1) y[slots[begin + at]!] = height + offsets[at]!;
    }
  };
}

/** How much room each column takes to the right. */
function widthsOf({ slots, starts, width }: Drawing): Float64Array {
  const widths = new Float64Array(starts.length - 1);
  for (let column = 0; column < widths.length; column += 1) {
    for (let slot = starts[column]!; slot < starts[column + 1]!; slot += 1) widths[column] = Math.max(widths[column]!, width[slots[slot]!]!);
  }
  return widths;
}

/** The column at which each row begins: one that few connections lead into, about evenly apart. */
function rowsOf({ slots, starts, before, tall }: Drawing, y: Float64Array, widths: Float64Array, aspect: number | undefined): number[] {
  const columns = widths.length;
  if (aspect === undefined || columns < 7) return [0];
  let width = 0;
  for (const each of widths) width += each + GAP.x;
  let top = Number.POSITIVE_INFINITY;
  let bottom = Number.NEGATIVE_INFINITY;
  for (let item = 0; item < y.length; item += 1) {
    top = Math.min(top, y[item]!);
    bottom = Math.max(bottom, y[item]! + tall[item]!);
  }
  const height = bottom - top + ROW_GAP;
  const into = (column: number) => {
    if (column >= columns) return Number.POSITIVE_INFINITY;
    let count = 0;
    for (let slot = starts[column]!; slot < starts[column + 1]!; slot += 1) count += before.from[slots[slot]! + 1]! - before.from[slots[slot]!]!;
    return count;
  };
  const count = Math.min(Math.round(Math.sqrt(width / (aspect * height))), Math.floor(columns / 3));
  const rows = [0];
  for (let row = 1; row < count; row += 1) {
    const ideal = Math.round((row * columns) / count);
    let best = ideal;
    for (const near of [ideal, ideal + 1, ideal - 1]) {
      if (near - (rows[rows.length - 1] ?? 0) >= 2 && into(near) < into(best)) best = near;
    }
    rows.push(best);
  }
  return rows;
}

function place(boxes: readonly Box[], drawing: Drawing, aspect: number | undefined, passes: number): Map<string, Placed> {
  const { slots, starts, tall, before, after } = drawing;
  const columns = starts.length - 1;
  const y = new Float64Array(slots.length);
  const settle = settler(drawing, y);
  const wished = new Float64Array(drawing.highest);
  for (let column = 0; column < columns; column += 1) settle(column, wished);
  for (let pass = 0; pass < passes; pass += 1) {
    const down = pass % 2 === 0;
    const near = down ? before : after;
    const far = down ? after : before;
    for (let step = 0; step < columns; step += 1) {
      const column = down ? step : columns - 1 - step;
      const begin = starts[column]!;
      const many = starts[column + 1]! - begin;
      for (let at = 0; at < many; at += 1) {
        const item = slots[begin + at]!;
        const { from, of } = near.from[item] === near.from[item + 1] ? far : near;
        const first = from[item]!;
        const last = from[item + 1]!;
        let sum = 0;
        for (let each = first; each < last; each += 1) sum += y[of[each]!]! + tall[of[each]!]! / 2;
        wished[at] = first === last ? y[item]! + tall[item]! / 2 : sum / (last - first);
      }
      settle(column, wished);
    }
  }
  const widths = widthsOf(drawing);
  const rows = rowsOf(drawing, y, widths, aspect);
  const placed = new Map<string, Placed>();
  let bottom = 0;
  for (let row = 0; row < rows.length; row += 1) {
    const begin = rows[row]!;
    const end = rows[row + 1] ?? columns;
    let top = Number.POSITIVE_INFINITY;
    let lowest = 0;
    for (let slot = starts[begin]!; slot < starts[end]!; slot += 1) {
      if (slots[slot]! < boxes.length) top = Math.min(top, y[slots[slot]!]!);
    }
    let x = 0;
    for (let column = begin; column < end; column += 1) {
      for (let slot = starts[column]!; slot < starts[column + 1]!; slot += 1) {
        const item = slots[slot]!;
        if (item >= boxes.length) continue;
        const { id, width, height } = boxes[item]!;
        placed.set(id, { x: Math.round(x + (widths[column]! - width) / 2), y: Math.round(bottom + y[item]! - top) });
        lowest = Math.max(lowest, y[item]! + height - top);
      }
      x += widths[column]! + GAP.x;
    }
    bottom += lowest + ROW_GAP;
  }
  return placed;
}
