import '@xyflow/react/dist/style.css';

import { useComputedColorScheme } from '@mantine/core';
import {
  Background,
  BackgroundVariant,
  BaseEdge,
  ConnectionMode,
  EdgeLabelRenderer,
  getBezierPath,
  getSmoothStepPath,
  Handle,
  MarkerType,
  Panel,
  Position,
  ReactFlow,
  ReactFlowProvider,
  SelectionMode,
  useReactFlow,
  useStore,
  type Connection as FlowConnection,
  type Edge,
  type EdgeChange,
  type EdgeProps,
  type FinalConnectionState,
  type Node,
  type NodeChange,
  type NodeProps,
} from '@xyflow/react';
import { createContext, lazy, memo, Suspense, useCallback, useContext, useEffect, useImperativeHandle, useLayoutEffect, useMemo, useRef, useState, type DragEvent, type MouseEvent, type PointerEvent, type ReactNode, type Ref } from 'react';

import type { Person } from '../collab/people';
import { Icon, type IconName } from '../ui/Icon';
import { look } from '../ui/status';
import { useSteady } from '../ui/useSteady';
import type { Item } from './layout/scene';
import { hasPortList, lanesOf, SIZE } from './layout/scene';
import { MiniMap, Overview, type Scenery } from './Overview';
import { around, boxAt, boxesOf, isFar, meets, passes, regionOf, viewOf, type Rect, type View } from './view';

// Most are alone.
const People = lazy(() => import('./People'));

export interface Count {
  ended: number;
  /** Absent while it is not known how many there will be. */
  total?: number | undefined;
}

const inWords = ({ ended, total }: Count) => `${ended} of ${total ?? '?'}`;

/** What is drawn of a component, beside its place. */
export interface Card {
  id: string;
  title: string;
  type: string;
  icon: IconName;
  ports: string[];
  /** Connections in; the join is drawn when there are several. */
  incoming: number;
  join: 'all' | 'any' | 'all_done';
  /** Mistakes that were found in it. */
  mistakes: number;
  warnings: number;
  status?: string | undefined;
  /** How many of how many have ended: rounds of a loop, or what is in one. */
  counts?: readonly Count[] | undefined;
  /** A few words beside the status: an attempt, a countdown. */
  note?: ReactNode;
  /** What this component is made to undo with. */
  compensated: boolean;
  /** Something stands for what it would give, when something is tried. */
  pinned?: boolean;
  /** Of a container: how many components it holds, and whether they are folded away. */
  holds?: { count: number; isFolded: boolean } | undefined;
}

export interface Line {
  from: string;
  port: string;
  to: string;
  /** In an execution: whether it was gone along, or can no longer be. */
  fate?: 'fired' | 'dead' | undefined;
  /** Whether it leads to or from something that is not there. */
  broken?: boolean;
}

export interface CanvasHandle {
  fit: () => void;
  zoom: (by: 1 | -1) => void;
  actualSize: () => void;
  show: (id: string) => void;
  /** Moves the view, without zooming, when a component is out of sight; also one that is drawn in a moment. */
  reveal: (id: string) => void;
  /** The middle of what is seen, on the drawing. */
  middle: () => [number, number];
  at: (clientX: number, clientY: number) => [number, number];
}

export interface Edits {
  onMove: (moved: Map<string, [number, number]>) => void;
  /** Components were dropped in another frame, or beside all of them; their places count from the drawing. */
  onMoveInto: (moved: Map<string, [number, number]>, frame: string | undefined) => void;
  onConnect: (line: Line) => void;
  /** Why a connection cannot be; nothing when it can. */
  refuse: (line: Line) => string | undefined;
  /** A connection was pulled into the empty canvas. */
  onPull: (from: string, port: string, at: [number, number], screen: [number, number]) => void;
  onDropType: (type: string, at: [number, number], onto: string | undefined) => void;
}

type CardData = { card: Card; item: Item; hasFocus: boolean; editable: boolean; isTarget: boolean };
type CardNode = Node<CardData>;
type LineData = { label: string; fate: Line['fate']; broken: boolean; lane: number | undefined };

interface Point {
  clientX: number;
  clientY: number;
}
/** What says where a pointer or a finger is. */
type Pointed = Point | { touches: { readonly [at: number]: Point } };

/** Folds a container, or unfolds it; absent where that cannot be done. */
const Fold = createContext<((id: string) => void) | undefined>(undefined);

const JOINS = { all: '∧', any: '∨', all_done: '⊙' };
const JOIN_WORDS = { all: 'all of its connections', any: 'any of its connections', all_done: 'all to be settled' };

function Ports({ card, top, editable }: { card: Card; top: number; editable: boolean }) {
  const listed = hasPortList(card.ports);
  return (
    <>
      {card.ports.map((port, index) => (
        <div
          key={port}
          className={`port port-${port === 'error' || port === 'timeout' ? 'seldom' : port === 'success' ? 'success' : 'own'}`}
          style={listed ? { top: top + index * SIZE.port } : { top: SIZE.head / 2 - SIZE.port / 2 }}
        >
          {listed && <span className="port-name">{port}</span>}
          <Handle id={port} type="source" position={Position.Right} isConnectable={editable} />
        </div>
      ))}
    </>
  );
}

function Head({ card }: { card: Card }) {
  const fold = useContext(Fold);
  const seen = card.status ? look(card.status) : undefined;
  return (
    <div className="card-head">
      <span className="card-icon">
        <Icon name={card.icon} size={15} />
      </span>
      <span className="card-text">
        <span className="card-title">{card.title}</span>
        <span className="card-type">
          {seen ? (
            <span className={`card-status tone-${seen.tone}`}>
              <Icon name={seen.icon} size={11} className={card.status === 'running' ? 'turning' : ''} /> {seen.word}
              {card.counts?.map((count, at) => (
                // In words it would not have room, from a hundred on.
                <span key={at} className="card-note" title={`${inWords(count)} have ended`}>
                  {' '}
                  <span aria-hidden="true">
                    {count.ended}/{count.total ?? '?'}
                  </span>
                  <span className="visually-hidden">{inWords(count)}</span>
                </span>
              ))}
              {card.note && <span className="card-note"> {card.note}</span>}
            </span>
          ) : (
            `${card.type}${card.holds?.isFolded ? ` · ${card.holds.count} inside` : ''}`
          )}
        </span>
      </span>
      {card.holds && fold && (
        <button
          type="button"
          className="card-fold nodrag"
          aria-expanded={!card.holds.isFolded}
          aria-label={`${card.holds.isFolded ? 'Unfold' : 'Fold'} ${card.title}`}
          data-hint={card.holds.isFolded ? 'Unfold' : 'Fold'}
          onClick={(event) => {
            event.stopPropagation();
            fold(card.id);
          }}
        >
          <Icon name={card.holds.isFolded ? 'chevron' : 'down'} size={11} />
        </button>
      )}
      {card.pinned && (
        <span className="card-mark" title="Its data is pinned: a try does not run it">
          <Icon name="pin" size={12} />
        </span>
      )}
      {card.compensated && (
        <span className="card-mark" title="It is undone when the execution fails later">
          <Icon name="undo" size={12} />
        </span>
      )}
      {card.mistakes > 0 && (
        <span className="card-count bad" title={`${card.mistakes} mistakes`}>
          {card.mistakes}
        </span>
      )}
      {card.mistakes === 0 && card.warnings > 0 && (
        <span className="card-count warn" title={`${card.warnings} warnings`}>
          {card.warnings}
        </span>
      )}
    </div>
  );
}

function Incoming({ card, editable }: { card: Card; editable: boolean }) {
  return (
    <>
      <Handle type="target" position={Position.Left} isConnectable={editable} style={{ top: SIZE.head / 2 }} />
      {card.incoming > 1 && (
        <span className="card-join" title={`Waits for ${JOIN_WORDS[card.join]}`}>
          {JOINS[card.join]}
        </span>
      )}
    </>
  );
}

const CardView = memo(function CardView({ data, selected }: NodeProps<CardNode>) {
  const { card, item, hasFocus, editable, isTarget } = data;
  const tone = card.status ? ` tone-${look(card.status).tone}` : '';
  const isFrame = item.kind === 'container';
  return (
    <div
      className={`card${isFrame ? ' frame' : ''}${selected ? ' is-selected' : ''}${hasFocus ? '' : ' is-far'}${isTarget ? ' is-target' : ''}${card.mistakes > 0 ? ' has-mistake' : ''}${tone}`}
      style={{ width: item.width, height: item.height }}
    >
      <Incoming card={card} editable={editable} />
      <Head card={card} />
      <Ports card={card} top={isFrame ? SIZE.frameTop : SIZE.head} editable={editable} />
    </div>
  );
});

const ScopeView = memo(function ScopeView({ data }: NodeProps<CardNode>) {
  return (
    <div className={`scope-frame${data.isTarget ? ' is-target' : ''}`} style={{ width: data.item.width, height: data.item.height }}>
      <span className="scope-name">{data.card.title}</span>
    </div>
  );
});

function LineView({ id, sourceX, sourceY, targetX, targetY, data, markerEnd, selected }: EdgeProps<Edge<LineData>>) {
  const ends = { sourceX, sourceY, targetX, targetY, sourcePosition: Position.Right, targetPosition: Position.Left };
  // What leads back to the left goes round, between the rows.
  const [path, labelX, labelY] =
    targetX < sourceX ? getSmoothStepPath({ ...ends, borderRadius: 12, offset: 22, ...(data?.lane !== undefined && { centerY: data.lane }) }) : getBezierPath({ ...ends, curvature: 0.32 });
  return (
    <>
      <BaseEdge
        id={id}
        path={path}
        {...(markerEnd && { markerEnd })}
        className={`line${data?.fate ? ` line-${data.fate}` : ''}${data?.broken ? ' line-broken' : ''}${selected ? ' is-selected' : ''}${data?.label === 'error' || data?.label === 'timeout' ? ' line-seldom' : ''}`}
        interactionWidth={18}
      />
      {data?.label && selected && (
        <EdgeLabelRenderer>
          <span className="line-label" style={{ transform: `translate(-50%, -50%) translate(${labelX}px, ${labelY}px)` }}>
            {data.label}
          </span>
        </EdgeLabelRenderer>
      )}
    </>
  );
}

// At module level: new identities at each render would draw everything again.
const NODE_TYPES = { card: CardView, scope: ScopeView };
const EDGE_TYPES = { line: LineView };
const MARKER = { type: MarkerType.ArrowClosed, width: 12, height: 12, color: 'var(--edge)', markerUnits: 'userSpaceOnUse' };
/** Whether somebody asked for less motion. */
const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
/** Above this many components, only those that are seen are in the page, and from afar there is an overview. */
const LARGE = 150;
/** How far away the drawing is put when the whole of it is to be seen: a small one stays readable. */
const FIT = { small: { min: 0.3, max: 1 }, large: { min: 0.04, max: 1 } };
/** How far away somebody may go. */
const FARTHEST = { small: 0.1, large: 0.04 };
const SEVERAL = ['Shift', 'Meta', 'Control'];
const GRID: [number, number] = [8, 8];
const PLAIN = { hideAttribution: true };
const NO_NODES: CardNode[] = [];
const NO_EDGES: Edge<LineData>[] = [];

export function lineId({ from, port, to }: Line): string {
  return `${from}.${port}>${to}`;
}

interface CanvasProps {
  items: Item[];
  cards: ReadonlyMap<string, Card>;
  lines: Line[];
  selection: ReadonlySet<string>;
  selectedLines?: ReadonlySet<string>;
  onSelect: (ids: Set<string>, lines: Set<string>) => void;
  onOpen?: ((id: string) => void) | undefined;
  onFold?: ((id: string) => void) | undefined;
  /** What can be done with a component was asked for, at a place of the window. */
  onMenu?: ((id: string, at: [number, number]) => void) | undefined;
  edits?: Edits | undefined;
  /** Who else looks at it. */
  people?: readonly Person[] | undefined;
  /** Where the pointer is on the drawing; nowhere once it has left. */
  onPoint?: ((at: [number, number] | undefined) => void) | undefined;
  label: string;
  handle?: Ref<CanvasHandle>;
  children?: ReactNode;
}

function Refusal() {
  const [reason, from] = useStore((state) => {
    const connection = state.connection;
    return [connection.inProgress && connection.isValid === false ? 'refused' : '', connection.inProgress ? connection.to : undefined] as const;
  }, (a, b) => a[0] === b[0] && a[1] === b[1]);
  const why = useRefusal();
  // Only while a connection is dragged: the view moves at each frame.
  const transform = useStore((state) => (state.connection.inProgress ? state.transform : undefined));
  if (!reason || !from || !why.current || !transform) return null;
  const [x, y, zoom] = transform;
  return (
    <div className="refusal" style={{ transform: `translate(${from.x * zoom + x + 14}px, ${from.y * zoom + y + 14}px)` }} role="status">
      {why.current}
    </div>
  );
}

const refusal: { current: string | undefined } = { current: undefined };
const useRefusal = () => refusal;

function Inner({ items, cards, lines, selection, selectedLines, onSelect, onOpen, onMenu, edits, people, onPoint, label, handle, children }: CanvasProps) {
  const flow = useReactFlow<CardNode, Edge<LineData>>();
  const scheme = useComputedColorScheme('light');
  const [dragged, setDragged] = useState<ReadonlyMap<string, { x: number; y: number }>>(new Map());
  const editable = edits !== undefined;
  const boxes = useMemo(() => boxesOf(items), [items]);
  const parents = useMemo(() => new Map(items.map((item) => [item.id, item.parent])), [items]);
  /** The frame that what is dragged would stand in, when that is another than it stands in now. */
  const [target, setTarget] = useState<{ frame: string | undefined }>();
  const drop = useRef<{ frame: string | undefined }>(undefined);
  const size = boxes.size > LARGE ? 'large' : 'small';
  // Only the first opening fits the view: later it would move things under the reader's hand. It is known before
  // anything is drawn, so that nothing is drawn twice.
  const [first, setFirst] = useState<View>();
  const wasFar = useRef(false);
  const far = useStore((state) => size === 'large' && isFar(state.panZoom ? state.transform[2] : (first?.zoom ?? 0), wasFar.current));
  wasFar.current = far;
  // Of a large drawing seen from near, only what is around the window is given to the library: it goes through all it has
  // at each frame.
  const lastRegion = useRef<Rect | undefined>(undefined);
  const region = useStore(({ transform: [x, y, zoom], width, height }) => {
    if (size === 'small' || far || width === 0) return undefined;
    lastRegion.current = regionOf({ x, y, zoom }, { width, height }, lastRegion.current);
    return lastRegion.current;
  });
  const laneOf = useMemo(() => lanesOf(items, lines), [items, lines]);
  const kept = useMemo(() => {
    if (!region) return undefined;
    const ids = new Set(selection);
    const through = new Set<Line>();
    for (const box of boxes.values()) if (meets(region, box)) ids.add(box.id);
    for (const line of lines) {
      const from = boxes.get(line.from);
      const to = boxes.get(line.to);
      if (from && to && passes(region, from, to, SIZE.head / 2, laneOf.get(line))) through.add(line);
    }
    for (const line of through) ids.add(line.from).add(line.to);
    for (const item of [...items].reverse()) if (item.parent !== undefined && ids.has(item.id)) ids.add(item.parent);
    return { ids, through };
  }, [region, boxes, items, lines, laneOf, selection]);

  // Everything that a selection depends on, or that depends on it.
  const near = useMemo(() => {
    if (selection.size === 0 || !editable) return undefined;
    const all = new Set(selection);
    for (const [fromKey, toKey] of [
      ['from', 'to'],
      ['to', 'from'],
    ] as const) {
      const next = new Map<string, string[]>();
      for (const line of lines) {
        const ends = next.get(line[fromKey]);
        if (ends) ends.push(line[toKey]);
        else next.set(line[fromKey], [line[toKey]]);
      }
      const seen = new Set(selection);
      const open = [...selection];
      for (let id = open.pop(); id !== undefined; id = open.pop()) {
        for (const end of next.get(id) ?? []) {
          if (seen.has(end)) continue;
          seen.add(end);
          all.add(end);
          open.push(end);
        }
      }
    }
    // What a container holds goes with it, and the containers around what is lit are not dark.
    for (const item of items) if (item.parent !== undefined && all.has(item.parent) && (selection.has(item.parent) || item.parent.includes('#'))) all.add(item.id);
    for (const item of [...items].reverse()) if (item.parent !== undefined && all.has(item.id)) all.add(item.parent);
    return all;
  }, [selection, lines, items, editable]);

  // The identity of what did not change is kept, so that only what changed is drawn again.
  const drawn = useRef(new Map<string, CardNode>());
  const drawnEdges = useRef(new Map<string, Edge<LineData>>());
  const nodes = useMemo(() => {
    if (far) return NO_NODES;
    const next = new Map<string, CardNode>();
    for (const item of items) {
      const card = cards.get(item.id);
      if (!card || (kept && !kept.ids.has(item.id))) continue;
      const at = dragged.get(item.id) ?? { x: item.x, y: item.y };
      const before = drawn.current.get(item.id);
      const hasFocus = near === undefined || near.has(item.id) || item.kind === 'scope';
      const isSelected = selection.has(item.id);
      if (
        before &&
        before.data.card === card &&
        before.data.hasFocus === hasFocus &&
        before.data.editable === editable &&
        before.data.isTarget === (target?.frame === item.id) &&
        before.selected === isSelected &&
        before.position.x === at.x &&
        before.position.y === at.y &&
        before.width === item.width &&
        before.height === item.height &&
        before.parentId === item.parent
      ) {
        next.set(item.id, before);
        continue;
      }
      const state = card.status ? [`, ${look(card.status).word}`, ...(card.counts ?? []).map(inWords)].join(' ') : '';
      const wrong = card.mistakes > 0 ? `, ${card.mistakes} mistakes` : '';
      next.set(item.id, {
        id: item.id,
        type: item.kind === 'scope' ? 'scope' : 'card',
        position: at,
        width: item.width,
        height: item.height,
        measured: { width: item.width, height: item.height },
        data: { card, item, hasFocus, editable, isTarget: target?.frame === item.id },
        selected: isSelected,
        draggable: editable && item.kind !== 'scope',
        selectable: item.kind !== 'scope',
        focusable: item.kind !== 'scope',
        connectable: editable,
        ariaLabel: `${card.title}, ${card.type}${card.pinned ? ', pinned data' : ''}${state}${wrong}`,
        ...(item.parent !== undefined && { parentId: item.parent }),
        ...(item.kind !== 'component' && { zIndex: -1, className: 'is-frame' }),
        ...(item.parent !== undefined && item.kind === 'component' && { zIndex: 1 }),
      });
    }
    drawn.current = next;
    return [...next.values()];
  }, [items, cards, dragged, near, selection, editable, far, kept, target]);

  const edges = useMemo<Edge<LineData>[]>(() => {
    if (far) return NO_EDGES;
    const next = new Map<string, Edge<LineData>>();
    for (const line of lines) {
      if (!cards.has(line.from) || !cards.has(line.to) || (kept && !kept.through.has(line))) continue;
      const id = lineId(line);
      const isNear = near === undefined || (near.has(line.from) && near.has(line.to));
      const edge = {
        id,
        type: 'line',
        source: line.from,
        sourceHandle: line.port,
        target: line.to,
        selected: selectedLines?.has(id) ?? false,
        focusable: editable,
        deletable: editable,
        markerEnd: MARKER,
        className: isNear ? '' : 'is-far',
        ariaLabel: `From ${line.from}${line.port === 'success' ? '' : `, port ${line.port},`} to ${line.to}`,
        data: { label: line.port === 'success' ? '' : line.port, fate: line.fate, broken: line.broken ?? false, lane: laneOf.get(line) },
      };
      const before = drawnEdges.current.get(id);
      const isSame =
        before?.data &&
        before.selected === edge.selected &&
        before.focusable === edge.focusable &&
        before.className === edge.className &&
        before.data.fate === edge.data.fate &&
        before.data.broken === edge.data.broken &&
        before.data.lane === edge.data.lane;
      next.set(id, isSame ? before : edge);
    }
    drawnEdges.current = next;
    return [...next.values()];
  }, [lines, cards, near, selectedLines, editable, laneOf, far, kept]);

  const frame = useRef<HTMLDivElement>(null);
  const wanted = useRef<string | undefined>(undefined);
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const id = wanted.current;
    const box = frame.current?.getBoundingClientRect();
    const at = id === undefined ? undefined : boxes.get(id);
    if (!box || !at) return;
    wanted.current = undefined;
    const { x, y, zoom } = flow.getViewport();
    const left = at.x * zoom + x;
    const top = at.y * zoom + y;
    const width = at.width * zoom;
    const height = at.height * zoom;
    // By just as much as is needed, and a little more.
    const by = (start: number, size: number, room: number) => (start < 24 ? 24 - start : start + size > room - 24 ? room - 24 - start - size : 0);
    const dx = by(left, width, box.width);
    const dy = by(top, height, box.height);
    if (dx !== 0 || dy !== 0) void flow.setViewport({ x: x + dx, y: y + dy, zoom }, { duration: calm() ? 0 : 120 });
  }, [flow, asked, boxes]);

  /** The view of the whole, or of one component. */
  const whole = useCallback(
    (id?: string): View => {
      const room = frame.current?.getBoundingClientRect() ?? { width: 0, height: 0 };
      return viewOf(id === undefined ? around(boxes.values()) : boxes.get(id), room, FIT[size]);
    },
    [boxes, size],
  );
  const isFitted = useRef(false);
  useLayoutEffect(() => {
    if (!first) setFirst(whole());
    else if (!isFitted.current && boxes.size > 0) void flow.setViewport(whole());
    if (boxes.size > 0) isFitted.current = true;
  }, [first, whole, boxes, flow]);

  useImperativeHandle(handle, () => ({
    fit: () => void flow.setViewport(whole(), { duration: calm() ? 0 : 150 }),
    zoom: (by) => void (by > 0 ? flow.zoomIn({ duration: calm() ? 0 : 100 }) : flow.zoomOut({ duration: calm() ? 0 : 100 })),
    actualSize: () => void flow.zoomTo(1, { duration: calm() ? 0 : 100 }),
    show: (id) => void flow.setViewport(whole(id), { duration: calm() ? 0 : 200 }),
    reveal: (id) => {
      wanted.current = id;
      setAsked((count) => count + 1);
    },
    middle: () => {
      const box = frame.current?.getBoundingClientRect();
      if (!box) return [0, 0];
      const { x, y } = flow.screenToFlowPosition({ x: box.x + box.width / 2, y: box.y + box.height / 2 });
      return [x, y];
    },
    at: (clientX, clientY) => {
      const { x, y } = flow.screenToFlowPosition({ x: clientX, y: clientY });
      return [x, y];
    },
  }));

  const onNodesChange = useCallback(
    (changes: NodeChange<CardNode>[]) => {
      const chosen = changes.filter((change) => change.type === 'select');
      if (chosen.length > 0) {
        const next = new Set(selection);
        for (const change of chosen) {
          if (change.selected) next.add(change.id);
          else next.delete(change.id);
        }
        onSelect(next, new Set());
      }
      if (!edits) return;
      const moved = changes.filter((change) => change.type === 'position');
      if (moved.length === 0) return;
      const at = new Map(dragged);
      for (const change of moved) if (change.position) at.set(change.id, change.position);
      // Moves by arrow keys never say that they are dragging; they are kept at once, as the end of a drag is.
      if (moved.some((change) => change.dragging)) {
        setDragged(at);
      } else {
        setDragged(new Map());
        setTarget(undefined);
        const into = drop.current;
        drop.current = undefined;
        const ended = new Map<string, [number, number]>();
        for (const change of moved) {
          const place = change.position ?? at.get(change.id);
          if (place) ended.set(change.id, [place.x, place.y]);
        }
        if (ended.size === 0) return;
        if (!into) {
          edits.onMove(ended);
          return;
        }
        for (const [id, [x, y]] of ended) {
          const around = boxes.get(parents.get(id) ?? '');
          ended.set(id, [x + (around?.x ?? 0), y + (around?.y ?? 0)]);
        }
        edits.onMoveInto(ended, into.frame);
      }
    },
    [selection, onSelect, edits, dragged, boxes, parents],
  );

  /** Finds the frame under the pointer while something is dragged; what is dragged can stand neither in itself nor in what it holds. */
  const overFrame = (event: Pointed, node: { id: string }, together: { id: string }[]) => {
    const point = 'touches' in event ? event.touches[0] : event;
    if (!point) return;
    const { x, y } = flow.screenToFlowPosition({ x: point.clientX, y: point.clientY });
    const ids = new Set(together.map((each) => each.id));
    const isOwn = (id: string): boolean => {
      for (let at: string | undefined = id; at !== undefined; at = parents.get(at)) if (ids.has(at)) return true;
      return false;
    };
    const frame = boxAt([...boxes.values()].filter((box) => box.kind !== 'component' && !isOwn(box.id)), x, y)?.id;
    const next = frame === parents.get(node.id) ? undefined : { frame };
    drop.current = next;
    if (next?.frame !== target?.frame || (next === undefined) !== (target === undefined)) setTarget(next);
  };

  const lineOf = (connection: FlowConnection | Edge): Line => ({
    from: connection.source,
    port: connection.sourceHandle ?? 'success',
    to: connection.target,
  });

  const scenery = useMemo<Scenery>(() => ({ boxes, cards, lines, selection, near }), [boxes, cards, lines, selection, near]);
  /** What is pointed at in the overview, which has no elements of its own to be clicked. */
  const under = (event: MouseEvent) => {
    const { x, y } = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
    return { x, y, box: boxAt(boxes.values(), x, y) };
  };
  // The library tells everything it has drawn of each handler that is another than before.
  const on = useSteady({
    edgesChange: (changes: EdgeChange<Edge<LineData>>[]) => {
      const chosen = changes.filter((change) => change.type === 'select');
      if (chosen.length === 0) return;
      const next = new Set(selectedLines);
      for (const change of chosen) {
        if (change.selected) next.add(change.id);
        else next.delete(change.id);
      }
      onSelect(new Set(), next);
    },
    drag: overFrame,
    paneClick: (event: MouseEvent) => {
      const chosen = far ? under(event).box : undefined;
      onSelect(new Set(chosen && chosen.kind !== 'scope' ? [chosen.id] : []), new Set());
    },
    moveStart: () => moves(true),
    moveEnd: () => moves(false),
    nodeMenu: (event: MouseEvent, node: { id: string }) => {
      if (node.id.includes('#')) return;
      event.preventDefault();
      onMenu?.(node.id, [event.clientX, event.clientY]);
    },
    nodeDoubleClick: (_: unknown, node: { id: string }) => onOpen?.(node.id),
    connect: (connection: FlowConnection) => edits?.onConnect(lineOf(connection)),
    isValid: (connection: FlowConnection | Edge) => {
      refusal.current = edits?.refuse(lineOf(connection));
      return refusal.current === undefined;
    },
    connectEnd: (event: globalThis.MouseEvent | TouchEvent, state: FinalConnectionState) => {
      if (!edits || state.toNode || !state.fromNode || state.fromHandle?.type !== 'source') return;
      const point = 'changedTouches' in event ? event.changedTouches[0] : event;
      if (!point) return;
      const { x, y } = flow.screenToFlowPosition({ x: point.clientX, y: point.clientY });
      edits.onPull(state.fromNode.id, state.fromHandle.id ?? 'success', [x, y], [point.clientX, point.clientY]);
    },
    nodesChange: onNodesChange,
  });
  // While the view moves its content is one picture that is moved: drawing it anew would take a frame each time.
  const moves = (does: boolean) => frame.current?.classList.toggle('is-moving', does);

  return (
    <div
      ref={frame}
      className={`canvas${editable ? '' : ' is-read-only'}`}
      {...(onPoint && {
        onPointerMove: (event: PointerEvent) => {
          const { x, y } = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY }, { snapToGrid: false });
          onPoint([Math.round(x), Math.round(y)]);
        },
        onPointerLeave: () => onPoint(undefined),
      })}
      onDoubleClick={(event) => {
        if (!far || !(event.target as Element).closest('.react-flow__pane')) return;
        const { x, y } = under(event);
        void flow.setCenter(x, y, { zoom: 1, duration: calm() ? 0 : 200 });
      }}
      onDragOver={(event: DragEvent) => {
        if (edits && event.dataTransfer.types.includes('application/apg-type')) {
          event.preventDefault();
          event.dataTransfer.dropEffect = 'copy';
        }
      }}
      onDrop={(event: DragEvent) => {
        const type = event.dataTransfer.getData('application/apg-type');
        if (!edits || !type) return;
        event.preventDefault();
        const { x, y } = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
        const onto = (event.target as Element).closest('.react-flow__edge')?.getAttribute('data-id') ?? undefined;
        edits.onDropType(type, [x, y], onto);
      }}
    >
      {first && <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        onNodesChange={on.nodesChange}
        onEdgesChange={on.edgesChange}
        {...(edits && { onNodeDrag: on.drag })}
        onPaneClick={on.paneClick}
        onMoveStart={on.moveStart}
        onMoveEnd={on.moveEnd}
        {...(onMenu && { onNodeContextMenu: on.nodeMenu })}
        onNodeDoubleClick={on.nodeDoubleClick}
        onConnect={on.connect}
        isValidConnection={on.isValid}
        onConnectEnd={on.connectEnd}
        connectionMode={ConnectionMode.Strict}
        connectionRadius={28}
        nodesDraggable={editable}
        nodesConnectable={editable}
        elementsSelectable
        defaultViewport={first}
        deleteKeyCode={null}
        multiSelectionKeyCode={SEVERAL}
        selectionKeyCode="Shift"
        selectionMode={SelectionMode.Partial}
        panOnScroll
        zoomOnPinch
        zoomOnDoubleClick={false}
        panActivationKeyCode="Space"
        snapToGrid={editable}
        snapGrid={GRID}
        minZoom={FARTHEST[size]}
        maxZoom={1.6}
        onlyRenderVisibleElements={size === 'large'}
        colorMode={scheme}
        aria-label={label}
        proOptions={PLAIN}
      >
        {/* Dots are drawn anew over the whole window at each frame: in a large drawing that is felt. */}
        {size === 'small' && <Background variant={BackgroundVariant.Dots} gap={24} size={1} />}
        {far && <Overview scenery={scenery} scheme={scheme} />}
        {boxes.size > 12 && (
          <Panel position="bottom-right">
            <MiniMap scenery={scenery} scheme={scheme} onGo={(x, y) => void flow.setCenter(x, y, { zoom: flow.getZoom() })} />
          </Panel>
        )}
        {editable && <Refusal />}
        {people && people.length > 0 && (
          <Suspense fallback={null}>
            <People people={people} boxes={boxes} />
          </Suspense>
        )}
        {children && <Panel position="bottom-left">{children}</Panel>}
      </ReactFlow>}
    </div>
  );
}

/** The drawing of a workflow. Without `edits` it is only looked at. */
export const Canvas = memo(function Canvas(props: CanvasProps) {
  return (
    <Fold value={props.onFold}>
      <ReactFlowProvider>
        <Inner {...props} />
      </ReactFlowProvider>
    </Fold>
  );
});
