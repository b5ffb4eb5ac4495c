import { useStoreApi } from '@xyflow/react';
import { useDeferredValue, useEffect, useRef, type PointerEvent } from 'react';

import { look } from '../ui/status';
import type { Card, Line } from './Canvas';
import { around, meets, viewOf, type Box, type Rect } from './view';

/** Everything that an overview shows. */
export interface Scenery {
  boxes: ReadonlyMap<string, Box>;
  cards: ReadonlyMap<string, Card>;
  lines: readonly Line[];
  selection: ReadonlySet<string>;
  /** What is lit when something is selected; everything when undefined. */
  near: ReadonlySet<string> | undefined;
}

/** Height of a container's name, in pixels of the screen, and the least width of a frame that bears one. */
const NAME = { size: 11, least: 70 };

type Colours = Record<'panel' | 'line' | 'edge' | 'text' | 'accent' | 'good' | 'bad' | 'busy' | 'wait' | 'warn' | 'quiet', string>;

/** The colours of the page as it looks now. */
function coloursOf(element: Element): Colours {
  const style = getComputedStyle(element);
  const of = (name: string) => style.getPropertyValue(name).trim();
  return {
    panel: of('--panel'),
    line: of('--line-strong'),
    edge: of('--edge'),
    text: of('--text'),
    accent: of('--accent'),
    good: of('--good'),
    bad: of('--bad'),
    busy: of('--busy'),
    wait: of('--wait'),
    warn: of('--warn'),
    quiet: of('--quiet'),
  };
}

/** Makes a canvas as sharp as the screen, and gives what draws on it, in pixels of the page. */
function begin(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const dense = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext('2d');
  context?.setTransform(dense, 0, 0, dense, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

function toneOf(card: Card | undefined, colours: Colours): string | undefined {
  if (!card) return undefined;
  if (card.mistakes > 0) return colours.bad;
  return card.status ? colours[look(card.status).tone] : undefined;
}

/** Draws what is seen of a drawing: frames, lines as straight ones, components as boxes in the colour of how they stand. */
function paint(context: CanvasRenderingContext2D, scenery: Scenery, seen: Rect, place: (x: number, y: number) => [number, number], zoom: number, colours: Colours): void {
  const { boxes, cards, lines, selection, near } = scenery;
  const isLit = (id: string) => near === undefined || near.has(id);
  const shown = [...boxes.values()].filter((box) => meets(box, seen));

  for (const box of shown) {
    if (box.kind === 'component') continue;
    const [x, y] = place(box.x, box.y);
    context.globalAlpha = isLit(box.id) ? 1 : 0.35;
    context.strokeStyle = toneOf(cards.get(box.id), colours) ?? colours.line;
    context.lineWidth = selection.has(box.id) ? 2.5 : 1;
    context.strokeRect(x, y, box.width * zoom, box.height * zoom);
    if (box.width * zoom < NAME.least) continue;
    context.fillStyle = colours.text;
    context.font = `${NAME.size}px system-ui, sans-serif`;
    context.fillText(cards.get(box.id)?.title ?? box.id, x + 4, y + NAME.size + 2, box.width * zoom - 8);
  }

  // All lines of one look are one path: a stroke each would be a hundred times the work.
  const looks = new Map<string, { colour: string; alpha: number; path: Path2D }>();
  for (const { from, to, fate, broken } of lines) {
    const start = boxes.get(from);
    const end = boxes.get(to);
    if (!start || !end) continue;
    const [sx, sy, ex, ey] = [start.x + start.width, start.y + 23, end.x, end.y + 23];
    if (!meets({ x: Math.min(sx, ex), y: Math.min(sy, ey), width: Math.abs(ex - sx), height: Math.abs(ey - sy) }, seen)) continue;
    const lit = isLit(from) && isLit(to);
    const colour = broken ? colours.bad : fate === 'fired' ? colours.good : colours.edge;
    const key = `${colour}${lit}${fate === 'dead'}`;
    let same = looks.get(key);
    if (!same) looks.set(key, (same = { colour, alpha: lit && fate !== 'dead' ? 0.8 : 0.2, path: new Path2D() }));
    same.path.moveTo(...place(sx, sy));
    same.path.lineTo(...place(ex, ey));
  }
  context.lineWidth = 1;
  for (const { colour, alpha, path } of looks.values()) {
    context.globalAlpha = alpha;
    context.strokeStyle = colour;
    context.stroke(path);
  }

  for (const box of shown) {
    if (box.kind !== 'component') continue;
    const [x, y] = place(box.x, box.y);
    const [width, height] = [Math.max(2, box.width * zoom), Math.max(2, box.height * zoom)];
    const tone = toneOf(cards.get(box.id), colours);
    context.globalAlpha = isLit(box.id) ? 1 : 0.35;
    context.fillStyle = tone ?? colours.line;
    context.fillRect(x, y, width, height);
    if (!selection.has(box.id)) continue;
    context.strokeStyle = colours.accent;
    context.lineWidth = 2;
    context.strokeRect(x - 2, y - 2, width + 4, height + 4);
  }
  context.globalAlpha = 1;
}

/** How far the picture of an overview reaches beyond what is seen, as a part of that, to each side. */
const BEYOND = 0.5;
/** How much larger or smaller the picture may be shown than it was drawn, while the zoom changes. */
const STRETCH = 1.6;
/** How long the view rests before the picture is drawn anew in the right size, in milliseconds. */
const REST = 120;

/**
 * A large drawing from afar, as one picture: thousands of components as elements of the page would be too slow to move.
 *
 * The picture reaches beyond the window, and is only shifted while that is enough. What is done on it is heard by the pane
 * below, and the outline lists the same components for readers of screens.
 */
export function Overview({ scenery, scheme }: { scenery: Scenery; scheme: string }) {
  const store = useStoreApi();
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return undefined;
    const colours = coloursOf(element);
    let timer: ReturnType<typeof setTimeout> | undefined;
    let drawn = { x: 0, y: 0, zoom: 1, width: 0, height: 0 };

    const draw = () => {
      clearTimeout(timer);
      timer = undefined;
      const { transform, width, height } = store.getState();
      const [x, y, zoom] = transform;
      // What the picture shows of the drawing: the window, and as much around it.
      const seen = {
        x: (-x - width * BEYOND) / zoom,
        y: (-y - height * BEYOND) / zoom,
        width: (width * (1 + 2 * BEYOND)) / zoom,
        height: (height * (1 + 2 * BEYOND)) / zoom,
      };
      drawn = { x: seen.x, y: seen.y, zoom, width: seen.width, height: seen.height };
      const context = begin(element, seen.width * zoom, seen.height * zoom);
      if (context) paint(context, scenery, seen, (px, py) => [(px - seen.x) * zoom, (py - seen.y) * zoom], zoom, colours);
      element.style.width = `${seen.width * zoom}px`;
      element.style.height = `${seen.height * zoom}px`;
      shift();
    };
    /** Puts the picture where it belongs; false when it does not reach far enough. */
    const shift = (): boolean => {
      const { transform, width, height } = store.getState();
      const [x, y, zoom] = transform;
      const scale = zoom / drawn.zoom;
      const left = drawn.x * zoom + x;
      const top = drawn.y * zoom + y;
      element.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
      const reaches = left <= 0 && top <= 0 && left + drawn.width * zoom >= width && top + drawn.height * zoom >= height;
      return reaches && scale < STRETCH && scale > 1 / STRETCH;
    };
    draw();
    const stop = store.subscribe((now, before) => {
      if (now.transform === before.transform && now.width === before.width && now.height === before.height) return;
      if (!shift()) {
        draw();
      } else if (now.transform[2] !== drawn.zoom) {
        clearTimeout(timer);
        timer = setTimeout(draw, REST);
      }
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [store, scenery, scheme]);

  return (
    <canvas
      ref={canvas}
      className="overview"
      role="img"
      aria-label={`Overview of ${scenery.cards.size} components. The outline lists them; come nearer to see them one by one.`}
    />
  );
}

/** The whole drawing in a corner, with a frame around what is seen. Pointing at a place goes there. */
export function MiniMap({ scenery: newest, scheme, onGo }: { scenery: Scenery; scheme: string; onGo: (x: number, y: number) => void }) {
  // Painted after the drawing, which is looked at first.
  const scenery = useDeferredValue(newest);
  const store = useStoreApi();
  const canvas = useRef<HTMLCanvasElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const shown = useRef({ x: 0, y: 0, zoom: 1 });

  useEffect(() => {
    const element = canvas.current;
    if (!element) return undefined;
    const room = { width: element.clientWidth, height: element.clientHeight };
    const view = viewOf(around(scenery.boxes.values()), room, { min: 0, max: 0.3 });
    shown.current = view;
    const context = begin(element, room.width, room.height);
    const all = { x: -view.x / view.zoom, y: -view.y / view.zoom, width: room.width / view.zoom, height: room.height / view.zoom };
    // Lines would be a smear at this size.
    if (context) paint(context, { ...scenery, lines: [] }, all, (x, y) => [x * view.zoom + view.x, y * view.zoom + view.y], view.zoom, coloursOf(element));
    let marked = '';
    const mark = () => {
      const { transform, width, height } = store.getState();
      const [x, y, zoom] = transform;
      const box = frame.current;
      if (!box) return;
      const left = (-x / zoom) * view.zoom + view.x;
      const top = (-y / zoom) * view.zoom + view.y;
      box.style.transform = `translate(${left}px, ${top}px)`;
      // Only when it is another: a size has to be laid out, a place has not.
      const size = `${(width / zoom) * view.zoom}px ${(height / zoom) * view.zoom}px`;
      if (size === marked) return;
      marked = size;
      [box.style.width, box.style.height] = size.split(' ') as [string, string];
    };
    mark();
    return store.subscribe((now, before) => {
      if (now.transform !== before.transform || now.width !== before.width || now.height !== before.height) mark();
    });
  }, [store, scenery, scheme]);

  const go = (event: PointerEvent<HTMLDivElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const { x, y, zoom } = shown.current;
    onGo((event.clientX - box.x - x) / zoom, (event.clientY - box.y - y) / zoom);
  };
  return (
    <div
      className="minimap only-wide"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        go(event);
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId)) go(event);
      }}
    >
      <canvas ref={canvas} role="img" aria-label="Overview" />
      <div ref={frame} className="minimap-view" />
    </div>
  );
}
