import { useMemo, useRef } from 'react';

import type { Sight } from '../api/live';
import { Canvas, type CanvasHandle, type Card, type Line } from '../canvas/Canvas';
import { CanvasTools } from '../canvas/CanvasTools';
import { graphOf } from '../canvas/graph';
import { iconOf } from '../canvas/icons';
import { arrange } from '../canvas/layout/scene';
import type { Workflow } from '../model/document';
import type { Types } from '../model/ports';
import { Countdown } from '../ui/Time';
import { fate, together, type Task } from './attempts';

/** The graph of an execution: the version it runs, with where each component stands. */
export function ExecutionGraph({
  workflow,
  types,
  sight,
  tasks,
  selected,
  onSelect,
}: {
  workflow: Workflow;
  types: Types;
  sight: Sight | undefined;
  tasks: Task[];
  selected: string | undefined;
  onSelect: (component: string | undefined) => void;
}) {
  const handle = useRef<CanvasHandle>(null);
  const graph = useMemo(() => graphOf(workflow, types), [workflow, types]);
  const items = useMemo(() => arrange(graph, workflow.layout), [graph, workflow]);
  const byComponent = useMemo(() => {
    const map = new Map<string, Task[]>();
    for (const task of tasks) {
      const list = map.get(task.component);
      if (list) list.push(task);
      else map.set(task.component, [task]);
    }
    return map;
  }, [tasks]);

  const kept = useRef(new Map<string, { key: string; card: Card }>());
  const cards = useMemo(() => {
    const next = new Map<string, Card>();
    const keep = new Map<string, { key: string; card: Card }>();
    const ports = new Map(graph.parts.map((part) => [part.id, part.ports]));
    for (const component of workflow.components.values()) {
      const seen = sight?.components.get(component.id);
      const own = byComponent.get(component.id) ?? [];
      const inLoop = own.some((task) => task.iteration.length > 0);
      const all = seen ? undefined : together(own);
      const status = seen?.state ?? all?.status ?? 'waiting';
      const rounds = seen?.rounds;
      const until = seen?.until ?? undefined;
      const attempt = seen?.attempt ?? 0;
      const counts = [...(rounds ? [{ ended: rounds.ended, total: rounds.total ?? undefined }] : []), ...(inLoop && all ? [{ ended: all.ended, total: all.total }] : [])];
      const words = attempt > 1 ? `attempt ${attempt}` : '';
      const key = JSON.stringify([status, counts, words, until, ports.get(component.id), component.title, component.type]);
      const before = kept.current.get(component.id);
      const card =
        before?.key === key
          ? before.card
          : {
              id: component.id,
              title: component.title ?? component.id,
              type: component.type,
              icon: iconOf(types.of(component.type)),
              ports: ports.get(component.id) ?? [],
              incoming: component.needs.length,
              join: component.join,
              mistakes: 0,
              warnings: 0,
              status,
              counts,
              note:
                words || until ? (
                  <>
                    {words} {until && ['retrying', 'delayed', 'asked', 'awaiting'].includes(status) && <Countdown until={until} />}
                  </>
                ) : undefined,
              compensated: component.fields['compensate'] !== undefined,
            };
      next.set(component.id, card);
      keep.set(component.id, { key, card });
    }
    for (const item of items) {
      if (item.kind !== 'scope') continue;
      const before = kept.current.get(item.id);
      const card = before?.card ?? {
        id: item.id,
        title: item.id.slice(item.id.indexOf('#') + 1).replaceAll('_', ' '),
        type: 'scope',
        icon: 'box' as const,
        ports: [],
        incoming: 0,
        join: 'all' as const,
        mistakes: 0,
        warnings: 0,
        compensated: false,
      };
      next.set(item.id, card);
      keep.set(item.id, { key: '', card });
    }
    kept.current = keep;
    return next;
  }, [workflow, types, sight, byComponent, graph, items]);

  const lines = useMemo<Line[]>(
    () =>
      workflow.connections.map((connection) => {
        const own = byComponent.get(connection.from) ?? [];
        const last = own[own.length - 1]?.last;
        return { ...connection, fate: fate(last, connection.port) };
      }),
    [workflow, byComponent],
  );
  const selection = useMemo(() => new Set(selected ? [selected] : []), [selected]);

  return (
    <Canvas
      label="Graph of the execution"
      items={items}
      cards={cards}
      lines={lines}
      selection={selection}
      onSelect={(ids) => onSelect([...ids].find((id) => id !== selected) ?? [...ids][0])}
      handle={handle}
    >
      <CanvasTools handle={handle} what="the graph" />
    </Canvas>
  );
}
