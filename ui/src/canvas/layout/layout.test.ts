import { describe, expect, it } from 'vitest';

import { GAP, layered, type Box, type Edge } from './layered';
import { arrange, SIZE, type Graph, type Part } from './scene';

/** Numbers that look random and are the same each time. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

function graph(count: number, seed: number): { boxes: Box[]; edges: Edge[] } {
  const next = numbers(seed);
  const boxes = Array.from({ length: count }, (_, at) => ({ id: `n${at}`, width: 200, height: 44 + Math.floor(next() * 60) }));
  const edges: Edge[] = [];
  for (let at = 1; at < count; at += 1) {
    edges.push({ from: `n${Math.max(0, at - 1 - Math.floor(next() * 6))}`, to: `n${at}` });
    if (next() < 0.3) edges.push({ from: `n${Math.floor(next() * at)}`, to: `n${at}` });
  }
  return { boxes, edges };
}

describe('layered', () => {
  it.each([1, 2, 3, 4, 5])('overlaps nothing and leads to the right (seed %i)', (seed) => {
    const { boxes, edges } = graph(120, seed);
    const places = layered(boxes, edges);
    const all = boxes.map((box) => ({ ...box, ...places.get(box.id)! }));
    for (const [at, a] of all.entries()) {
      for (const b of all.slice(at + 1)) {
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
        expect(apart, `${a.id} and ${b.id}`).toBe(true);
      }
    }
    for (const { from, to } of edges) {
      if (from !== to) expect(places.get(to)!.x).toBeGreaterThanOrEqual(places.get(from)!.x + 200 + GAP.x - 1);
    }
  });

  it('gives the same places for the same graph', () => {
    const { boxes, edges } = graph(60, 9);
    expect([...layered(boxes, edges)]).toEqual([...layered(boxes, edges)]);
  });

  it('draws a chain as a line and a diamond without a crossing', () => {
    const box = (id: string) => ({ id, width: 100, height: 40 });
    const chain = layered(['a', 'b', 'c'].map(box), [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'c' },
    ]);
    expect(new Set([...chain.values()].map((place) => place.y))).toEqual(new Set([0]));
    const diamond = layered(['a', 'b', 'c', 'd'].map(box), [
      { from: 'a', to: 'b' },
      { from: 'a', to: 'c' },
      { from: 'b', to: 'd' },
      { from: 'c', to: 'd' },
    ]);
    expect(diamond.get('b')!.x).toBe(diamond.get('c')!.x);
    expect(diamond.get('a')!.y).toBe(diamond.get('d')!.y);
    expect(diamond.get('b')!.y).toBeLessThan(diamond.get('c')!.y);
  });

  it('breaks a long chain into rows when it is told how wide it may be', () => {
    const boxes = Array.from({ length: 14 }, (_, at) => ({ id: `n${at}`, width: 200, height: 46 }));
    const edges = boxes.slice(1).map((box, at) => ({ from: `n${at}`, to: box.id }));
    const places = [...layered(boxes, edges, 2).values()];
    const rows = new Set(places.map((place) => place.y));
    expect(rows.size).toBeGreaterThan(2);
    const width = Math.max(...places.map((place) => place.x)) + 200;
    expect(width / (Math.max(...rows) + 46)).toBeLessThan(5);
    expect(new Set(places.map((place) => `${place.x},${place.y}`)).size).toBe(14);
    expect(new Set([...layered(boxes.slice(0, 5), edges.slice(0, 4), 2).values()].map((place) => place.y)).size).toBe(1);
  });

  it('bears circles, loops on one box, connections to nothing, and no boxes at all', () => {
    const box = (id: string) => ({ id, width: 100, height: 40 });
    expect(layered([], []).size).toBe(0);
    const places = layered([box('a'), box('b')], [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'a' },
      { from: 'a', to: 'a' },
      { from: 'a', to: 'ghost' },
    ]);
    expect(places.size).toBe(2);
  });

  it('places 2,000 boxes in far less than a second', () => {
    const { boxes, edges } = graph(2_000, 3);
    const start = performance.now();
    expect(layered(boxes, edges).size).toBe(2_000);
    expect(performance.now() - start).toBeLessThan(1_000);
  });
});

describe('arrange', () => {
  const part = (id: string, parent: string | null = null, isContainer = false, scope = 'components'): Part => ({
    id,
    parent,
    scope,
    isContainer,
    ports: ['success'],
  });
  const nested: Graph = {
    root: null,
    parts: [part('a'), part('loop', null, true), part('x', 'loop'), part('y', 'loop'), part('c', 'loop', false, 'catch')],
    edges: [
      { from: 'a', to: 'loop' },
      { from: 'x', to: 'y' },
    ],
  };

  it('makes a container as large as what it holds', () => {
    const items = new Map(arrange(nested, {}).map((item) => [item.id, item]));
    const loop = items.get('loop')!;
    for (const id of ['x', 'y', 'loop#catch']) {
      const item = items.get(id)!;
      expect(item.parent).toBe('loop');
      expect(item.x + item.width).toBeLessThanOrEqual(loop.width - SIZE.pad);
      expect(item.y + item.height).toBeLessThanOrEqual(loop.height);
    }
    expect(items.get('c')!.parent).toBe('loop#catch');
    expect(items.get('loop#catch')!.y).toBeGreaterThan(items.get('x')!.y);
  });

  it('keeps positions that are given, and finds a free place for what has none', () => {
    const graphOfThree: Graph = { root: null, parts: [part('a'), part('b'), part('c')], edges: [{ from: 'a', to: 'c' }] };
    const items = new Map(arrange(graphOfThree, { a: [500, 300], b: [800, 300] }).map((item) => [item.id, item]));
    expect([items.get('a')!.x, items.get('a')!.y]).toEqual([500, 300]);
    const c = items.get('c')!;
    expect(c.x).toBeGreaterThan(500 + SIZE.width);
    expect(c.y).toBeGreaterThanOrEqual(300 + SIZE.head);
  });

  it('counts positions inside a container from where its list begins', () => {
    const items = new Map(arrange(nested, { x: [0, 0], y: [400, 120] }).map((item) => [item.id, item]));
    const y = items.get('y')!;
    expect([y.x - y.origin[0], y.y - y.origin[1]]).toEqual([400, 120]);
    expect(items.get('loop')!.width).toBeGreaterThan(400 + SIZE.width);
  });
});
