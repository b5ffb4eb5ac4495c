import { describe, expect, it } from 'vitest';

import type { Item } from './layout/scene';
import { around, boxAt, boxesOf, isFar, passes, regionOf, viewOf } from './view';

const item = (id: string, x: number, y: number, width: number, height: number, parent?: string, kind: Item['kind'] = 'component'): Item => ({
  id,
  kind,
  parent,
  x,
  y,
  width,
  height,
  origin: [0, 0],
});

describe('boxesOf', () => {
  const boxes = boxesOf([item('loop', 100, 50, 400, 300, undefined, 'container'), item('inside', 20, 44, 200, 46, 'loop'), item('after', 600, 50, 200, 46)]);

  it('counts from the drawing, also inside of containers', () => {
    expect(boxes.get('inside')).toMatchObject({ x: 120, y: 94, depth: 2 });
    expect(around(boxes.values())).toEqual({ x: 100, y: 50, width: 700, height: 300 });
    expect(around([])).toBeUndefined();
  });

  it('finds the innermost of what stands at a point', () => {
    expect(boxAt(boxes.values(), 130, 100)?.id).toBe('inside');
    expect(boxAt(boxes.values(), 480, 300)?.id).toBe('loop');
    expect(boxAt(boxes.values(), 560, 60)).toBeUndefined();
  });
});

describe('viewOf', () => {
  it('puts a rectangle in the middle, and neither too near nor too far', () => {
    const room = { width: 1000, height: 500 };
    expect(viewOf({ x: 0, y: 0, width: 100, height: 50 }, room, { min: 0.3, max: 1 })).toEqual({ x: 450, y: 225, zoom: 1 });
    const far = viewOf({ x: 0, y: 0, width: 9_000, height: 100 }, room, { min: 0.04, max: 1 });
    expect(far.zoom).toBeCloseTo(0.1);
    expect(viewOf({ x: 0, y: 0, width: 90_000, height: 100 }, room, { min: 0.3, max: 1 }).zoom).toBe(0.3);
  });
});

describe('what a large drawing keeps in the page', () => {
  it('is an overview below one zoom, and until a higher one', () => {
    expect([isFar(0.34, false), isFar(0.36, false), isFar(0.36, true), isFar(0.41, true)]).toEqual([true, false, true, false]);
  });

  it('is the same region until the view leaves it', () => {
    const room = { width: 1000, height: 500 };
    const region = regionOf({ x: 0, y: 0, zoom: 1 }, room, undefined);
    expect(region).toEqual({ x: -500, y: -250, width: 2000, height: 1000 });
    expect(regionOf({ x: -300, y: 200, zoom: 1 }, room, region)).toBe(region);
    expect(regionOf({ x: -700, y: 0, zoom: 1 }, room, region)).not.toBe(region);
    expect(regionOf({ x: 0, y: 0, zoom: 2 }, room, region)).not.toBe(region);
  });

  it('holds connections that pass, and not all whose corners are around it', () => {
    const region = { x: 900, y: 0, width: 200, height: 200 };
    const box = (x: number, y: number) => ({ x, y, width: 100, height: 46 });
    expect(passes(region, box(0, 50), box(2_000, 60), 23, undefined)).toBe(true);
    expect(passes(region, box(0, 900), box(2_000, 1_000), 23, undefined)).toBe(false);
    // Its corners are around the region; the curve goes below it.
    expect(passes({ x: 1_700, y: 0, width: 100, height: 100 }, box(0, 0), box(2_000, 2_000), 23, undefined)).toBe(false);
    expect(passes(region, box(2_000, 600), box(0, 600), 23, 100)).toBe(true);
    expect(passes(region, box(2_000, 600), box(0, 600), 23, 400)).toBe(false);
  });
});
