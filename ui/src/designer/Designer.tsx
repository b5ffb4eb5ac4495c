import { ActionIcon, Button, Tabs } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { Link } from '@tanstack/react-router';
import { lazy, memo, Suspense, useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';

import type { ComponentType } from '../api/client';
import { Canvas, lineId, type CanvasHandle, type Card, type Edits, type Line } from '../canvas/Canvas';
import { CanvasTools } from '../canvas/CanvasTools';
import { containersOf, graphOf } from '../canvas/graph';
import { iconOf } from '../canvas/icons';
import { arrange, scopeId, SIZE, type Item } from '../canvas/layout/scene';
import { tidy } from '../canvas/layout/tidy';
import { boxAt, boxesOf, type Box } from '../canvas/view';
import { NOBODY, type Person, type Place } from '../collab/people';
import {
  addComponents,
  componentAt,
  connect,
  connectionMistake,
  copy,
  disconnect,
  freeId,
  lineOf,
  moveTo,
  needText,
  paste,
  removeComponents,
  rename,
  sameScope,
  setField,
  setPositions,
  setWorkflowField,
  withInside,
  type Connection,
  type Position,
  type Read,
  type Scope,
  type ScopeName,
} from '../model/document';
import { everything, references, type Types } from '../model/ports';
import { LastDataContext } from '../schema-form/lastData';
import { useOffer, type Command } from '../ui/commands';
import { Icon, type IconName } from '../ui/Icon';
import { say, sayProblem } from '../ui/notify';
import { onDemand } from '../ui/onDemand';
import { Loading } from '../ui/States';
import { unchanged } from '../ui/unchanged';
import { useSteady } from '../ui/useSteady';
import type { Changes } from './Inspector';
import { useLastData } from './lastExecution';
import { Palette } from './Palette';
import { firstConfig, remember } from './palette';
import { usePins, withPins } from './pins';
import { place, type Placed } from './problems';
import type { Asked } from './Try';
import type { Standing } from './tries';
import { useLate, type DocumentState } from './useDocument';
import { useValidation } from './useValidation';

const Outline = lazy(() => import('./Outline').then((part) => ({ default: memo(part.Outline) })));
const Problems = lazy(() => import('./Problems').then((part) => ({ default: part.Problems })));
const Menu = lazy(() => import('../ui/Menu'));
const Try = lazy(() => import('./Try'));
const Source = lazy(() => import('./Source'));
const Inspector = lazy(() => import('./Inspector').then((part) => ({ default: memo(part.Inspector) })));
const Shortcuts = onDemand(() => import('./Shortcuts').then((part) => part.Shortcuts));

interface Props {
  document: DocumentState;
  types: Types;
  name: string;
  /** The workflow whose executions can be looked at. */
  back?: string;
  note: ReactNode;
  banner?: ReactNode;
  /** Further actions, for Ctrl-K. */
  actions: Command[];
  publish: { reason?: string | undefined; run: () => void; isPending?: boolean };
  execute?: { label: string; reason?: string | undefined; run: () => void };
  /** Who else has it open. */
  people?: readonly Person[];
  /** Where this person is now. */
  onPlace?: (place: Partial<Place>) => void;
}

const nowhere = () => undefined;

interface QuickAdd {
  screen: [number, number];
  at: [number, number] | undefined;
  from: { id: string; port: string } | undefined;
}

type View = 'outline' | 'canvas' | 'source' | 'add';

const NOTHING: ReadonlySet<string> = new Set();
const NOTHING_WRONG: readonly Placed[] = [];
const NOWHERE: ReadonlyMap<string, Standing> = new Map();
/** The actions of a component's own menu. */
const MENU = ['try', 'try-only', 'pin', 'into', 'fold', 'duplicate', 'delete'];

const isText = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName));

const samePlace = (a: Item, b: Item) =>
  a.id === b.id && a.kind === b.kind && a.parent === b.parent && a.x === b.x && a.y === b.y && a.width === b.width && a.height === b.height && a.origin[0] === b.origin[0] && a.origin[1] === b.origin[1];

/** The list that a frame on the drawing stands for. */
function scopeOf(id: string): Scope {
  const hash = id.indexOf('#');
  if (hash < 0) return { parent: id, name: 'components' };
  return { parent: hash === 0 ? null : id.slice(0, hash), name: id.slice(hash + 1) as ScopeName };
}

/** Where a list begins on the drawing: places in the document count from there. */
function beginningOf(items: readonly Item[], boxes: ReadonlyMap<string, Box>, scope: Scope): Position {
  const frame = boxes.get(scope.name === 'components' ? (scope.parent ?? '') : scopeId(scope.parent, scope.name));
  if (!frame) return [0, 0];
  const first = items.find((item) => item.parent === frame.id && item.kind !== 'scope');
  const [x, y] = first?.origin ?? [SIZE.pad, SIZE.frameHead];
  return [frame.x + x, frame.y + y];
}

/** The designer: palette, canvas, settings and source of one document. */
export function Designer({ document: doc, types, name, back, note, banner, actions, publish, execute, people = NOBODY, onPlace = nowhere }: Props) {
  const { workflow, text, mistake } = doc.read;
  const late = useLate(doc);
  const draw = (next: string, label: string, about?: string) => doc.draw(next, text, label, about);
  const [selection, setSelection] = useState<ReadonlySet<string>>(NOTHING);
  const [selectedLines, setSelectedLines] = useState<ReadonlySet<string>>(NOTHING);
  const [sourceOpen, setSourceOpen] = useState(false);
  const [problemsOpen, setProblemsOpen] = useState(false);
  const [keysOpen, setKeysOpen] = useState(false);
  const [current, setCurrent] = useState(-1);
  const [side, setSide] = useState<string | null>('add');
  const [view, setView] = useState<View>('canvas');
  const [quick, setQuick] = useState<QuickAdd>();
  const [goTo, setGoTo] = useState<{ line: number }>();
  const [folded, setFolded] = useState<ReadonlySet<string>>(NOTHING);
  const [at, setAt] = useState<string>();
  const canvas = useRef<CanvasHandle>(null);
  const [asked, setAsked] = useState<Asked>();
  const [standing, setStanding] = useState(NOWHERE);
  const [menu, setMenu] = useState<[number, number]>();
  const validation = useValidation(text);
  const lived = useLastData(back);
  const pinned = usePins(back);
  const { pins } = pinned;
  // What is pinned is what a component gave last.
  const last = useMemo(() => ({ ...lived, data: withPins(lived.data, pins) }), [lived, pins]);
  const isNarrow = useMediaQuery('(max-width: 900px)', false, { getInitialValueInEffect: false });

  const mistakes = useMemo(() => [...validation.problems, ...validation.warnings], [validation.problems, validation.warnings]);
  const placed = useMemo(() => (mistakes.length > 0 ? place(mistakes, late.workflow) : NOTHING_WRONG), [mistakes, late]);
  const errors = placed.filter((each) => each.mistake.severity === 'error').length;
  const isBlank = workflow.components.size === 0;

  // Where things stand that have no position in the document is decided once: nothing moves by itself.
  const settled = useRef(new Map<string, Position>());
  const unfolded = useMemo(() => (selection.size === 1 ? selection : NOTHING), [selection]);
  /** The container that was stepped into, while it is there. */
  const inside = at !== undefined && workflow.components.has(at) ? at : undefined;
  const graph = useMemo(() => graphOf(workflow, types, { unfolded, folded, inside }), [workflow, types, unfolded, folded, inside]);
  const arranged = useRef<Item[]>([]);
  const items = useMemo(() => {
    const positions: Record<string, readonly [number, number]> = { ...Object.fromEntries(settled.current), ...workflow.layout };
    const next = arrange(graph, positions);
    for (const item of next) {
      if (item.kind !== 'scope') settled.current.set(item.id, [item.x - item.origin[0], item.y - item.origin[1]]);
    }
    return (arranged.current = unchanged(arranged.current, next, samePlace));
  }, [graph, workflow.layout]);

  const kept = useRef(new Map<string, { key: string; card: Card }>());
  const shown = useRef<ReadonlyMap<string, Card>>(new Map());
  const cards = useMemo(() => {
    const next = new Map<string, Card>();
    const keep = new Map<string, { key: string; card: Card }>();
    const parts = new Map(graph.parts.map((part) => [part.id, part]));
    const wrong = new Map<string, Placed[]>();
    for (const each of placed) {
      if (each.component !== undefined) wrong.set(each.component, [...(wrong.get(each.component) ?? []), each]);
    }
    for (const item of items) {
      const component = workflow.components.get(item.id);
      const part = parts.get(item.id);
      const isFolded = folded.has(item.id);
      const held = component && (isFolded || part?.isContainer) ? withInside(workflow, [item.id]) : undefined;
      // What is wrong inside of what is folded is not hidden by that.
      const own = isFolded && held ? [...held].flatMap((id) => wrong.get(id) ?? []) : (wrong.get(item.id) ?? []);
      const errors = own.filter((each) => each.mistake.severity === 'error').length;
      const card: Card = component
        ? {
            id: component.id,
            title: component.title ?? component.id,
            type: component.type,
            icon: iconOf(types.of(component.type)),
            ports: part?.ports ?? [],
            incoming: component.needs.length,
            join: component.join,
            mistakes: errors,
            warnings: own.length - errors,
            compensated: component.fields['compensate'] !== undefined,
            ...(pins[item.id] && { pinned: true }),
            status: standing.get(item.id)?.state,
            counts: standing.get(item.id)?.counts,
            note: standing.get(item.id)?.note,
            ...(held && { holds: { count: held.size - 1, isFolded } }),
          }
        : {
            id: item.id,
            title: scopeOf(item.id).name.replace('_', ' '),
            type: 'scope',
            icon: 'box',
            ports: [],
            incoming: 0,
            join: 'all',
            mistakes: 0,
            warnings: 0,
            compensated: false,
          };
      const key = JSON.stringify(card);
      const before = kept.current.get(item.id);
      const same = before?.key === key ? before.card : card;
      next.set(item.id, same);
      keep.set(item.id, { key, card: same });
    }
    kept.current = keep;
    const before = shown.current;
    const isSame = next.size === before.size && [...next].every(([id, card]) => before.get(id) === card);
    return (shown.current = isSame ? before : next);
  }, [items, graph, workflow, placed, types, folded, standing, pins]);

  const connected = useRef<Line[]>([]);
  const lines = useMemo<Line[]>(() => {
    const next = workflow.connections.map((connection) => {
      const from = workflow.components.get(connection.from);
      const to = workflow.components.get(connection.to);
      return { ...connection, broken: !from || !to || !sameScope(from.scope, to.scope) };
    });
    return (connected.current = unchanged(connected.current, next, (a, b) => lineId(a) === lineId(b) && a.broken === b.broken));
  }, [workflow]);
  const line = selectedLines.size === 1 ? lines.find((each) => selectedLines.has(lineId(each))) : undefined;

  const select = useCallback((ids: ReadonlySet<string>, chosen: ReadonlySet<string> = NOTHING) => {
    setSelection(new Set([...ids].filter((id) => !id.includes('#'))));
    setSelectedLines(chosen);
  }, []);
  /** Makes sure that a component is drawn: unfolds what it stands in, and steps out of what it does not stand in. */
  const uncover = (id: string) => {
    const around = containersOf(workflow, id);
    setFolded((before) => (around.some((each) => before.has(each)) ? new Set([...before].filter((each) => !around.includes(each))) : before));
    setAt((before) => (before !== undefined && !around.includes(before) ? undefined : before));
  };
  const choose = (ids: ReadonlySet<string>) => {
    for (const id of ids) uncover(id);
    select(ids);
  };
  const pick = (id: string) => {
    choose(new Set([id]));
    canvas.current?.reveal(id);
  };

  useEffect(() => onPlace({ selection: [...selection] }), [selection, onPlace]);

  // What was selected and is gone is not selected.
  useEffect(() => {
    if ([...selection].some((id) => !workflow.components.has(id))) select(new Set([...selection].filter((id) => workflow.components.has(id))));
  }, [workflow, selection, select]);

  const only = selection.size === 1 ? [...selection][0] : undefined;
  // The canvas became narrower: what is selected stays in sight.
  useEffect(() => {
    if (only === undefined) return undefined;
    const frame = requestAnimationFrame(() => canvas.current?.reveal(only));
    return () => cancelAnimationFrame(frame);
  }, [sourceOpen]); // eslint-disable-line react-hooks/exhaustive-deps -- follows the panel, not the selection
  useEffect(() => {
    const component = only === undefined ? undefined : workflow.components.get(only);
    if (sourceOpen && component) setGoTo({ line: lineOf(text, component.path) });
  }, [only, sourceOpen]); // eslint-disable-line react-hooks/exhaustive-deps -- follows the selection, not each letter that is typed

  /** The places of everything that has none in the document, so that one move keeps the whole drawing as it is. */
  const places = (moved: Map<string, Position> = new Map(), { components, layout } = workflow): [string, Position][] => [
    ...[...settled.current].filter(([id]) => components.has(id) && !layout[id] && !moved.has(id)),
    ...moved,
  ];

  // Adding.
  const add = (type: ComponentType, where: { at?: [number, number] | undefined; from?: { id: string; port: string } | undefined; onto?: string | undefined }) => {
    if (mistake) return;
    const boxes = boxesOf(items);
    const cut = where.onto === undefined ? undefined : lines.find((each) => lineId(each) === where.onto);
    const selected = only === undefined ? undefined : workflow.components.get(only);
    const here: Scope = { parent: inside ?? null, name: 'components' };
    let scope = here;
    let from = where.from;
    if (cut) {
      scope = workflow.components.get(cut.to)?.scope ?? scope;
      from = { id: cut.from, port: cut.port };
    } else if (from) {
      scope = workflow.components.get(from.id)?.scope ?? scope;
    } else if (where.at) {
      const frame = boxAt([...boxes.values()].filter((box) => box.kind !== 'component'), ...where.at);
      if (frame) scope = scopeOf(frame.id);
    } else if (selected) {
      const empty = types.isContainer(selected.type) && ![...workflow.components.values()].some((each) => each.scope.parent === selected.id);
      if (empty) {
        scope = { parent: selected.id, name: 'components' };
      } else {
        scope = selected.scope;
        const port = cards.get(selected.id)?.ports[0] ?? 'success';
        from = { id: selected.id, port };
      }
    }
    const id = freeId(type.type, workflow.components);
    let position: Position | undefined;
    if (where.at) {
      const [left, top] = beginningOf(items, boxes, scope);
      position = [where.at[0] - left - (where.from ? 0 : SIZE.width / 2), where.at[1] - top - SIZE.head / 2];
    } else if (from && workflow.components.has(from.id)) {
      position = undefined; // Right of what it follows, where there is room.
    } else if (sameScope(scope, here)) {
      const [x, y] = canvas.current?.middle() ?? [0, 0];
      position = [x - SIZE.width / 2, y - SIZE.head / 2];
    }
    const isFirst = workflow.components.size === 0;
    let next = addComponents(text, workflow, scope, [
      {
        id,
        type: type.type,
        config: firstConfig(type),
        ...(from && { needs: [needText(from.id, from.port)] }),
        ...(types.isContainer(type.type) && type.type !== 'parallel' && { fields: { components: {} } }),
      },
    ]);
    const moved = new Map<string, Position>(position && !(isFirst && scope.parent === null) ? [[id, position]] : isFirst ? [[id, [0, 0]]] : []);
    if (cut) {
      const target = workflow.components.get(cut.to);
      if (target) {
        const needs = target.needs.map((each) => (each.id === cut.from && each.port === cut.port ? { id, port: 'success' } : each));
        next = setField(
          next,
          target,
          'needs',
          needs.map((each) => needText(each.id, each.port)),
        );
      }
    }
    next = setPositions(next, places(moved));
    draw(next, `Add ${id}`);
    remember(type.type);
    if (scope.parent !== null) setFolded((before) => new Set([...before].filter((each) => each !== scope.parent)));
    select(new Set([id]));
    setQuick(undefined);
    setView((before) => (before === 'add' ? 'outline' : before));
    if (isFirst) requestAnimationFrame(() => canvas.current?.show(id));
    else canvas.current?.reveal(id);
  };

  /** Moves components into another list, in one step: with their places, when they were dragged there. */
  const moveInto = (read: Read, ids: string[], scope: Scope, dropped?: Map<string, Position>) => {
    if (read.mistake) return;
    const moved = moveTo(read.text, read.workflow, ids, scope);
    if (moved.text === read.text) return;
    for (const id of ids) settled.current.delete(id);
    const next = dropped ? setPositions(moved.text, places(dropped, read.workflow)) : moved.text;
    doc.draw(next, read.text, `Move ${ids.join(', ')}`);
    if (moved.gone.length > 0) {
      const names = (list: Connection[]) => list.map((each) => `${needText(each.from, each.port)} → ${each.to}`).join(', ');
      say(`Connections stay in one container. Gone: ${names(moved.gone)}. ${moved.made.length > 0 ? `Instead: ${names(moved.made)}. ` : ''}Undo takes it back.`);
    }
  };
  const pasteText = (read: Read, fragment: string, beside: string | undefined) => {
    if (read.mistake) return;
    const near = beside === undefined ? undefined : read.workflow.components.get(beside);
    const scope = near?.scope ?? { parent: inside ?? null, name: 'components' as const };
    const pasted = paste(read.text, read.workflow, scope, fragment);
    if (!pasted) {
      say('That text holds no components.');
      return;
    }
    doc.draw(setPositions(pasted.text, places(undefined, read.workflow)), read.text, `Paste ${pasted.added.join(', ')}`);
    select(new Set(pasted.added));
  };
  const renamed = (from: string, to: string) => {
    pinned.rename(from, to);
    setAsked((before) => (before?.component === from ? { ...before, component: to } : before));
    select(new Set([to]));
  };

  const { draw: drawn } = doc;
  const deeds = useSteady({ moveInto, pasteText, renamed });
  // Edits of what the settings show, which may be what was drawn a moment ago: what came since then stays.
  const changes = useMemo<Changes>(() => {
    const { text, workflow } = late;
    return {
      field: (component, field, value) => drawn(setField(text, component, field, value), text, `Change ${component.id}`, `${component.id}.${field}`),
      workflowField: (field, value) => drawn(setWorkflowField(text, field, value), text, `Change ${field}`, `#${field}`),
      rename: (from, to) => {
        settled.current.set(to, settled.current.get(from) ?? [0, 0]);
        drawn(rename(text, workflow, from, to), text, `Rename ${from}`);
        deeds.renamed(from, to);
      },
      connect: (connection) => drawn(connect(text, workflow, connection), text, `Connect ${connection.from} and ${connection.to}`),
      disconnect: (connection) => {
        drawn(disconnect(text, workflow, [connection]), text, `Disconnect ${connection.from} and ${connection.to}`);
        setSelectedLines(NOTHING);
      },
      remove: (ids) => {
        drawn(removeComponents(text, workflow, ids), text, `Delete ${ids.join(', ')}`);
        select(NOTHING);
      },
      duplicate: (ids) => deeds.pasteText(late, copy(text, workflow, ids), ids[0]),
      moveTo: (ids, container) => deeds.moveInto(late, ids, { parent: container, name: 'components' }),
    };
  }, [late, drawn, deeds, select]);

  const stepInto = (id: string) => {
    const component = workflow.components.get(id);
    if (!component || !types.isContainer(component.type)) return;
    setFolded((before) => new Set([...before].filter((each) => each !== id)));
    setAt(id);
    select(NOTHING);
  };
  const stepOut = () => {
    if (inside === undefined) return;
    setAt(containersOf(workflow, inside)[0]);
    select(new Set([inside]));
  };
  // The same function each time: every card has it.
  const fold = useCallback((id: string) => setFolded((before) => new Set(before.has(id) ? [...before].filter((each) => each !== id) : [...before, id])), []);

  const removeSelected = () => {
    if (selectedLines.size > 0) {
      const gone = lines.filter((each) => selectedLines.has(lineId(each)));
      draw(disconnect(text, workflow, gone), 'Disconnect');
      setSelectedLines(NOTHING);
    } else if (selection.size > 0) changes.remove([...selection]);
  };

  const layOut = () => {
    // What is folded is laid out as well: unfolded, it has to have room.
    tidy(graphOf(workflow, types, { inside })).then(
      (laid) => {
        if (!laid) return;
        const all = new Map<string, Position>(
          laid.filter((item) => item.kind !== 'scope').map((item) => [item.id, [item.x - item.origin[0], item.y - item.origin[1]]]),
        );
        draw(setPositions(text, all), 'Tidy');
        requestAnimationFrame(() => canvas.current?.fit());
      },
      (error: unknown) => sayProblem('It was not tidied', error),
    );
  };

  const goToProblem = (index: number) => {
    if (placed.length === 0) return;
    const at = (index + placed.length) % placed.length;
    const target = placed[at];
    setCurrent(at);
    setProblemsOpen(true);
    if (target?.component) pick(target.component);
    else select(NOTHING);
    if (sourceOpen && target?.mistake.line) setGoTo({ line: target.mistake.line });
  };

  const neighbour = (key: string) => {
    const boxes = boxesOf(items);
    const here = only ? boxes.get(only) : undefined;
    if (!only || !here) return;
    const forward = lines.filter((each) => each.from === only).map((each) => each.to);
    const backward = lines.filter((each) => each.to === only).map((each) => each.from);
    let next: string | undefined;
    if (key === 'ArrowRight') next = forward[0];
    else if (key === 'ArrowLeft') next = backward[0];
    else {
      const beside = new Set([
        ...backward.flatMap((id) => lines.filter((each) => each.from === id).map((each) => each.to)),
        ...forward.flatMap((id) => lines.filter((each) => each.to === id).map((each) => each.from)),
      ]);
      beside.delete(only);
      const sign = key === 'ArrowDown' ? 1 : -1;
      next = [...beside]
        .filter((id) => sign * ((boxes.get(id)?.y ?? 0) - here.y) > 0)
        .sort((a, b) => sign * ((boxes.get(a)?.y ?? 0) - (boxes.get(b)?.y ?? 0)))[0];
    }
    if (next) pick(next);
  };

  const tryReason =
    back === undefined
      ? 'Publish it once: only a workflow that is on the server can be tried.'
      : mistake
        ? 'The text is not YAML.'
        : only === undefined
          ? 'Select a component to try.'
          : undefined;
  const tryIt = (alone: boolean, isPin = false) => {
    if (tryReason !== undefined || only === undefined) say(tryReason ?? '');
    else setAsked((before) => ({ component: only, only: alone, isPin, number: (before?.number ?? 0) + 1 }));
  };

  const closeMenu = useCallback(() => setMenu(undefined), []);
  const openQuick = () => {
    const box = globalThis.document.querySelector('.designer-canvas')?.getBoundingClientRect();
    setQuick({ screen: [(box?.x ?? 0) + (box?.width ?? 0) / 2 - 140, (box?.y ?? 0) + 60], at: undefined, from: undefined });
  };

  const { tryNow } = useSteady({ tryNow: tryIt });
  const isPinned = only !== undefined && pins[only] !== undefined;
  const tries = useMemo<Command[]>(() => {
    const it = only ?? 'what is selected';
    return [
      { id: 'try', label: `Try up to ${it}`, icon: 'play', keys: 'Ctrl Enter', reason: tryReason, run: () => tryNow(false) },
      { id: 'try-only', label: `Try only ${it}`, icon: 'bolt', keys: 'Ctrl Shift Enter', reason: tryReason, run: () => tryNow(true) },
      { id: 'pin', label: `${isPinned ? 'Pinned' : 'Pin'} data of ${it}`, icon: 'pin', reason: tryReason, run: () => tryNow(false, true) },
    ];
  }, [only, tryReason, isPinned, tryNow]);
  const commands: Command[] = [
    {
      id: 'publish',
      label: 'Publish',
      icon: 'upload',
      reason: mistake ? 'The text is not YAML.' : isBlank ? 'Nothing is drawn yet.' : errors > 0 ? `There ${errors === 1 ? 'is a mistake' : `are ${errors} mistakes`}.` : publish.reason,
      run: publish.run,
    },
    ...(execute ? [{ id: 'execute', label: 'Execute', icon: 'play' as IconName, reason: execute.reason, run: execute.run }] : []),
    ...tries,
    { id: 'add', label: 'Add a component', icon: 'plus', keys: '/', run: openQuick },
    { id: 'tidy', label: 'Tidy the drawing', icon: 'tidy', keys: 'Shift L', reason: workflow.components.size === 0 ? 'There is nothing to tidy.' : undefined, run: layOut },
    { id: 'undo', label: 'Undo', icon: 'undo', keys: 'Ctrl Z', reason: !doc.canUndo ? 'There is nothing to undo.' : undefined, run: doc.undo },
    { id: 'redo', label: 'Redo', icon: 'redo', keys: 'Ctrl Shift Z', reason: !doc.canRedo ? 'There is nothing to redo.' : undefined, run: doc.redo },
    { id: 'source', label: sourceOpen ? 'Hide the source' : 'Show the source', icon: 'code', keys: 'S', run: () => setSourceOpen(!sourceOpen) },
    { id: 'fit', label: 'Fit the drawing', icon: 'fit', keys: '1', run: () => canvas.current?.fit() },
    { id: 'problem', label: 'Next problem', icon: 'alert', keys: 'F8', reason: placed.length === 0 ? 'There are none.' : undefined, run: () => goToProblem(current + 1) },
    { id: 'keys', label: 'Keys of the designer', icon: 'help', keys: '?', run: () => setKeysOpen(true) },
    ...(only !== undefined && cards.get(only)?.holds
      ? [
          { id: 'into', label: `Step into ${only}`, icon: 'fit' as IconName, keys: 'Enter', run: () => stepInto(only) },
          { id: 'fold', label: folded.has(only) ? `Unfold ${only}` : `Fold ${only}`, icon: 'box' as IconName, keys: 'F', run: () => fold(only) },
        ]
      : []),
    ...(selection.size > 0
      ? [
          { id: 'duplicate', label: 'Duplicate what is selected', icon: 'copy' as IconName, keys: 'Ctrl D', run: () => changes.duplicate([...selection]) },
          { id: 'delete', label: 'Delete what is selected', icon: 'trash' as IconName, keys: 'Del', run: () => changes.remove([...selection]) },
        ]
      : []),
    ...(inside !== undefined ? [{ id: 'out', label: `Step out of ${inside}`, icon: 'flow' as IconName, keys: 'Esc', run: stepOut }] : []),
    ...actions,
  ];
  useOffer(commands);
  const command = (id: string) => commands.find((each) => each.id === id);

  // Keys. Those of one letter work on the canvas and the outline alone, so that they are in nobody's way elsewhere.
  const keys = (event: KeyboardEvent) => {
    if (event.defaultPrevented || quick || keysOpen || globalThis.document.querySelector('[role="dialog"], [role="menu"]')) return;
    const mod = event.ctrlKey || event.metaKey;
    const take = (act: () => void) => {
      event.preventDefault();
      act();
    };
    // In a field as well: what was typed is in the document already.
    if (mod && event.key === 'Enter') return take(() => tryIt(event.shiftKey));
    if (isText(event.target)) return undefined;
    const key = event.key.toLowerCase();
    if (mod && key === 'z') return take(event.shiftKey ? doc.redo : doc.undo);
    if (mod && key === 'y') return take(doc.redo);
    if (mod && key === 'd' && selection.size > 0) return take(() => changes.duplicate([...selection]));
    if (mod && key === 'a') return take(() => select(new Set(graph.parts.map((part) => part.id))));
    if (event.key === 'F8') return take(() => goToProblem(current + (event.shiftKey ? -1 : 1)));
    if (mod) return undefined;
    if (event.altKey && event.key.startsWith('Arrow')) return take(() => neighbour(event.key));
    if (event.altKey) return undefined;
    if (event.key === 'Delete' || event.key === 'Backspace') return take(removeSelected);
    if (event.key === 'Escape') return take(() => (selection.size > 0 || selectedLines.size > 0 ? select(NOTHING) : stepOut()));
    const target = event.target as Element | null;
    const isHere = target === globalThis.document.body || target?.closest('.designer-canvas, .outline, #main') !== null;
    if (!isHere || target?.closest('button, a, [role="option"]')) return undefined;
    if (event.key === '/') return take(openQuick);
    if (event.key === '?') return take(() => setKeysOpen(true));
    if (event.shiftKey && key === 'l') return take(layOut);
    if (event.shiftKey && event.key !== '+') return undefined;
    if (key === '1') return take(() => canvas.current?.fit());
    if (key === '0') return take(() => canvas.current?.actualSize());
    if (event.key === '+') return take(() => canvas.current?.zoom(1));
    if (event.key === '-') return take(() => canvas.current?.zoom(-1));
    // Enter selects what has the focus; what was selected before that is stepped into.
    if (event.key === 'Enter' && only !== undefined && only === chosenBefore.current) return take(() => stepInto(only));
    if (key === 'f' && only !== undefined && cards.get(only)?.holds) return take(() => fold(only));
    if (key === 'o') return take(() => setSide(side === 'outline' ? 'add' : 'outline'));
    if (key === 's') return take(() => setSourceOpen(!sourceOpen));
    return undefined;
  };
  const chosenBefore = useRef<string | undefined>(undefined);
  const latest = useRef({ only, keys, paste: (_fragment: string): void => undefined, removeSelected, selection, text, workflow });
  latest.current = { only, keys, paste: (fragment: string) => pasteText(doc.read, fragment, [...selection][0]), removeSelected, selection, text, workflow };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => latest.current.keys(event);
    const beforeKey = (event: KeyboardEvent) => {
      chosenBefore.current = latest.current.only;
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
      // Before the canvas, which takes it as Ctrl with a click: that would select something else.
      latest.current.keys(event);
      if (event.defaultPrevented) event.stopPropagation();
    };
    const onCopy = (event: ClipboardEvent) => {
      const now = latest.current;
      if (isText(event.target) || now.selection.size === 0 || String(getSelection() ?? '') !== '') return;
      event.preventDefault();
      event.clipboardData?.setData('text/plain', copy(now.text, now.workflow, now.selection));
      if (event.type === 'cut') now.removeSelected();
    };
    const onPaste = (event: ClipboardEvent) => {
      if (isText(event.target)) return;
      const pasted = event.clipboardData?.getData('text/plain');
      if (!pasted) return;
      event.preventDefault();
      latest.current.paste(pasted);
    };
    addEventListener('keydown', beforeKey, true);
    addEventListener('keydown', onKey);
    addEventListener('copy', onCopy);
    addEventListener('cut', onCopy);
    addEventListener('paste', onPaste);
    return () => {
      removeEventListener('keydown', beforeKey, true);
      removeEventListener('keydown', onKey);
      removeEventListener('copy', onCopy);
      removeEventListener('cut', onCopy);
      removeEventListener('paste', onPaste);
    };
  }, []);

  // What follows is drawn when something in it changes, and not with each letter that somebody writes: the drawing of the
  // workflow is what they are waiting for.
  const publishReason = command('publish')?.reason;
  const press = useSteady({
    command: (id: string) => command(id)?.run(),
    execute: () => execute?.run(),
    publish: () => {
      if (publishReason === undefined) publish.run();
      else if (errors > 0) goToProblem(0);
      else say(publishReason);
    },
    add: (type: ComponentType) => add(type, {}),
    choose,
    deselect: () => select(NOTHING),
    open: stepInto,
    menu: (id: string, at: [number, number]) => {
      select(new Set([id]));
      setMenu(at);
    },
    point: (at: [number, number] | undefined) => onPlace({ at: inside === undefined ? at : undefined }),
  });
  const edits = useSteady<Edits>({
    onMove: (moved) => {
      const origins = new Map(items.map((item) => [item.id, item.origin]));
      const local = new Map<string, Position>([...moved].map(([id, [x, y]]) => [id, [x - (origins.get(id)?.[0] ?? 0), y - (origins.get(id)?.[1] ?? 0)]]));
      draw(setPositions(text, places(local)), 'Move');
    },
    onMoveInto: (moved, frame) => {
      const scope: Scope = frame === undefined ? { parent: inside ?? null, name: 'components' } : scopeOf(frame);
      const [left, top] = beginningOf(items, boxesOf(items), scope);
      moveInto(doc.read, [...moved.keys()], scope, new Map([...moved].map(([id, [x, y]]) => [id, [x - left, y - top]])));
    },
    onConnect: (each) => changes.connect(each),
    refuse: (each) => (mistake ? 'The text is not YAML.' : connectionMistake(workflow, each)),
    onPull: (from, port, at, screen) => setQuick({ screen, at, from: { id: from, port } }),
    onDropType: (kind, at, onto) => {
      const type = types.of(kind);
      if (type) add(type, { at, onto });
    },
  });
  const seen = useMemo(() => (inside === undefined ? people : people.map((person) => ({ ...person, at: undefined }))), [people, inside]);
  const tools = useMemo(() => <CanvasTools handle={canvas} what="the drawing" />, []);
  const toolButton = (id: string, label: string) => {
    const found = command(id);
    const hint = found?.reason ?? (found?.keys ? `${label} (${found.keys})` : label);
    return <ToolButton id={id} label={label} hint={hint} icon={found?.icon ?? 'dot'} isOff={found?.reason !== undefined} onPress={press.command} />;
  };
  const executeLabel = execute?.label;
  const executeReason = execute?.reason;
  const isPublishing = publish.isPending ?? false;
  const buttons = useMemo(
    () => (
      <>
        {executeLabel !== undefined && (
          <Button size="xs" variant="default" leftSection={<Icon name="play" size={12} />} disabled={executeReason !== undefined} data-hint={executeReason} onClick={press.execute}>
            {executeLabel}
          </Button>
        )}
        <Button
          data-hint={publishReason ?? 'Make this the version that runs'}
          size="xs"
          leftSection={<Icon name="upload" size={13} />}
          loading={isPublishing}
          data-disabled={publishReason !== undefined || undefined}
          aria-disabled={publishReason !== undefined}
          onClick={press.publish}
        >
          Publish
        </Button>
      </>
    ),
    [executeLabel, executeReason, publishReason, isPublishing, press],
  );
  const tab = view === 'add' ? 'add' : view === 'outline' && isNarrow ? 'outline' : side;
  const sides = useMemo(
    () => (
      <Tabs value={tab} onChange={setSide} keepMounted={false}>
        <Tabs.List className="only-wide">
          <Tabs.Tab value="add">Components</Tabs.Tab>
          <Tabs.Tab value="outline">Outline</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="add">
          <Palette types={types.all} onAdd={press.add} />
        </Tabs.Panel>
        <Tabs.Panel value="outline">
          <Suspense fallback={<Loading rows={6} />}>
            <Outline workflow={late.workflow} types={types} placed={placed} pins={pins} standing={standing} selection={selection} onSelect={press.choose} />
          </Suspense>
        </Tabs.Panel>
      </Tabs>
    ),
    [tab, types, late, placed, pins, standing, selection, press],
  );
  const isChosen = selection.size > 0 || line !== undefined;
  return (
    <div className="designer">
      <div className="page-head">
        <h1 className="designer-name" title={workflow.name || name}>
          {workflow.title ?? (workflow.name || name)}
        </h1>
        {note}
        <span className="spacer" />
        <span className="toolbar">
          {toolButton('undo', 'Undo')}
          {toolButton('redo', 'Redo')}
          <span className="toolbar-gap only-wide" />
          {toolButton('tidy', 'Tidy')}
          <span className="only-wide">{toolButton('source', sourceOpen ? 'Hide the source' : 'Show the source')}</span>
          <span className="only-wide">{toolButton('keys', 'Keys')}</span>
          {back && (
            <Link data-hint="Executions" to="/executions" search={{ workflow: back }} className="icon-link" aria-label="Executions of this workflow">
              <Icon name="list" />
            </Link>
          )}
          <span className="toolbar-gap only-wide" />
        </span>
        {buttons}
      </div>
      {banner}
      <div className={`designer-body${sourceOpen ? ' has-source' : ''}`}>
        <div className={`designer-side${view === 'outline' || view === 'add' ? ' is-shown' : ''}`}>
          {sides}
        </div>
        <div className={`designer-canvas${view === 'canvas' ? ' is-shown' : ''}`}>
          {workflow.components.size === 0 && !mistake && (
            <div className="canvas-hint">
              <div>
                <Icon name="flow" size={28} />
                <p>Choose a component on the left, drag one here, or press / and type.</p>
                <Button size="xs" variant="default" leftSection={<Icon name="plus" size={12} />} onClick={openQuick}>
                  Add the first component
                </Button>
              </div>
            </div>
          )}
          {inside !== undefined && (
            <nav className="canvas-path" aria-label="Where you are">
              <button type="button" className="as-link" onClick={() => setAt(undefined)}>
                {workflow.title ?? (workflow.name || name)}
              </button>
              {[...containersOf(workflow, inside).reverse(), inside].map((id) => (
                <span key={id}>
                  <Icon name="chevron" size={10} />
                  {id === inside ? (
                    <span aria-current="location">{workflow.components.get(id)?.title ?? id}</span>
                  ) : (
                    <button type="button" className="as-link" onClick={() => setAt(id)}>
                      {workflow.components.get(id)?.title ?? id}
                    </button>
                  )}
                </span>
              ))}
            </nav>
          )}
          {(!isNarrow || view === 'canvas') && <Canvas
            key={inside ?? ''}
            label="The drawing of the workflow"
            items={items}
            cards={cards}
            lines={lines}
            selection={selection}
            selectedLines={selectedLines}
            onSelect={select}
            onOpen={press.open}
            onFold={fold}
            onMenu={press.menu}
            handle={canvas}
            people={seen}
            onPoint={press.point}
            edits={edits}
          >
            {tools}
          </Canvas>}
          <div className="problems-panel">
            <button type="button" className="problems-head" aria-expanded={problemsOpen} onClick={() => setProblemsOpen(!problemsOpen)}>
              <Icon name={problemsOpen ? 'down' : 'chevron'} size={11} />
              <ProblemsWord placed={placed.length} errors={errors} validation={validation} mistake={mistake} isBlank={isBlank} />
            </button>
            {problemsOpen && placed.length > 0 && (
              <Suspense fallback={<Loading rows={2} />}>
                <Problems placed={placed} current={current} onGo={goToProblem} />
              </Suspense>
            )}
          </div>
        </div>
        {(sourceOpen || view === 'source') && (
          <div className={`designer-source${view === 'source' ? ' is-shown' : ''}`}>
            {mistake && (
              <div className="source-note" role="status">
                Not drawn yet: line {mistake.line}: {mistake.message}
              </div>
            )}
            <Suspense fallback={<Loading rows={6} />}>
              <Source
                text={text}
                mistakes={validation.isCurrent ? [...validation.problems, ...validation.warnings] : []}
                onChange={(typed, base) => doc.put(typed, base, 'Edit the source', '#source')}
                onLine={(at) => {
                  const id = componentAt(text, workflow, at);
                  if (id) choose(new Set([id]));
                }}
                goTo={goTo}
                references={(at) => {
                  const id = componentAt(text, workflow, at);
                  return id === undefined ? everything(workflow) : references(workflow, id);
                }}
                last={last}
                people={people}
                onCaret={(line) => onPlace({ line })}
              />
            </Suspense>
          </div>
        )}
        <aside className={`inspector${isChosen ? ' is-sheet' : ''}`} aria-label="Settings">
          <LastDataContext value={last}>
            <Suspense fallback={<Loading rows={6} />}>
              <Inspector
                workflow={late.workflow}
                types={types}
                selection={selection}
                line={line}
                placed={placed}
                changes={changes}
                deeds={tries}
                onClose={press.deselect}
              />
            </Suspense>
          </LastDataContext>
        </aside>
      </div>
      {asked && back !== undefined && workflow.components.has(asked.component) && (
        <Suspense fallback={<Loading rows={3} />}>
          <Try
            id={back}
            text={text}
            workflow={workflow}
            types={types}
            asked={asked}
            shown={only ?? asked.component}
            pins={pinned}
            last={lived}
            onStanding={setStanding}
            onPick={pick}
            onReveal={(id) => canvas.current?.reveal(id)}
            onClose={() => setAsked(undefined)}
          />
        </Suspense>
      )}
      <div className="designer-views">
        {(
          [
            ['outline', 'list', 'Outline'],
            ['canvas', 'flow', 'Drawing'],
            ['source', 'code', 'Source'],
            ['add', 'plus', 'Add'],
          ] as [View, IconName, string][]
        ).map(([id, icon, label]) => (
          <button key={id} type="button" aria-pressed={view === id} onClick={() => setView(id)}>
            <Icon name={icon} size={16} />
            {label}
          </button>
        ))}
      </div>
      {quick && (
        <div
          className="quick-add"
          role="dialog"
          aria-label="Add a component"
          style={{ left: Math.max(8, Math.min(quick.screen[0], innerWidth - 290)), top: Math.max(8, Math.min(quick.screen[1], innerHeight - 330)) }}
          onBlur={(event) => {
            if (!event.currentTarget.contains(event.relatedTarget)) setQuick(undefined);
          }}
        >
          <Palette types={types.all} autoFocus onEscape={() => setQuick(undefined)} onAdd={(type) => add(type, { at: quick.at, from: quick.from })} />
        </div>
      )}
      {menu && only !== undefined && (
        <Suspense fallback={null}>
          <Menu label={`Actions of ${only}`} at={menu} commands={commands.filter((each) => MENU.includes(each.id))} onClose={closeMenu} />
        </Suspense>
      )}
      <Shortcuts opened={keysOpen} close={() => setKeysOpen(false)} />
    </div>
  );
}

const ToolButton = memo(function ToolButton({ id, label, hint, icon, isOff, onPress }: { id: string; label: string; hint: string; icon: IconName; isOff: boolean; onPress: (id: string) => void }) {
  return (
    <ActionIcon data-hint={hint} variant="subtle" color="gray" aria-label={label} disabled={isOff} onClick={() => onPress(id)}>
      <Icon name={icon} />
    </ActionIcon>
  );
});

function ProblemsWord({
  placed,
  errors,
  validation,
  mistake,
  isBlank,
}: {
  placed: number;
  errors: number;
  validation: ReturnType<typeof useValidation>;
  mistake: { message: string; line: number } | undefined;
  isBlank: boolean;
}) {
  // Whoever has not begun has made no mistake.
  if (isBlank && !mistake) return <span className="dim">Nothing is drawn yet</span>;
  if (mistake) {
    return (
      <span className="tone-bad problem-mark">
        <Icon name="alert" size={12} /> Line {mistake.line} is not YAML
      </span>
    );
  }
  if (validation.error) return <span className="dim">Not checked: {validation.error.message}</span>;
  const words = [
    errors > 0 ? `${errors} ${errors === 1 ? 'mistake' : 'mistakes'}` : '',
    placed > errors ? `${placed - errors} ${placed - errors === 1 ? 'warning' : 'warnings'}` : '',
  ]
    .filter(Boolean)
    .join(', ');
  if (!words) {
    return (
      <span className={validation.isCurrent ? 'tone-good problem-mark' : 'dim'} role="status">
        {validation.isCurrent && <Icon name="check" size={12} />} {validation.isCurrent ? 'No mistakes' : 'Checking…'}
      </span>
    );
  }
  return (
    <span className={`${errors > 0 ? 'tone-bad' : 'tone-warn'} problem-mark`} role="status">
      <Icon name="alert" size={12} /> {words}
    </span>
  );
}

