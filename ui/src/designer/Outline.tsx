import type { KeyboardEvent } from 'react';

import { iconOf } from '../canvas/icons';
import { needText, type Component, type Workflow } from '../model/document';
import type { Types } from '../model/ports';
import { Icon } from '../ui/Icon';
import { Empty } from '../ui/States';
import { Status } from '../ui/Status';
import type { Pins } from './pins';
import type { Placed } from './problems';
import type { Standing } from './tries';

/** Orders a list so that what is needed stands before what needs it. */
function inOrder(list: Component[]): Component[] {
  const ids = new Set(list.map((each) => each.id));
  const done = new Set<string>();
  const sorted: Component[] = [];
  const open = new Set<string>();
  const add = (component: Component) => {
    if (done.has(component.id) || open.has(component.id)) return;
    open.add(component.id);
    for (const { id } of component.needs) {
      const before = ids.has(id) ? list.find((each) => each.id === id) : undefined;
      if (before) add(before);
    }
    open.delete(component.id);
    done.add(component.id);
    sorted.push(component);
  };
  list.forEach(add);
  return sorted;
}

/** The same document as a tree: what the canvas can, this can, for readers of screens and small ones. */
export function Outline({
  workflow,
  types,
  placed,
  pins,
  standing,
  selection,
  onSelect,
}: {
  workflow: Workflow;
  types: Types;
  placed: readonly Placed[];
  pins: Pins;
  /** Where the components of a try stand. */
  standing: ReadonlyMap<string, Standing>;
  selection: ReadonlySet<string>;
  onSelect: (ids: Set<string>) => void;
}) {
  const all = [...workflow.components.values()];
  const rows: { component: Component; depth: number; scope: string | undefined }[] = [];
  const collect = (parent: string | null, depth: number) => {
    for (const name of ['components', 'catch', 'on_failure', 'finally'] as const) {
      const list = inOrder(all.filter((each) => each.scope.parent === parent && each.scope.name === name));
      list.forEach((component, index) => {
        rows.push({ component, depth, scope: index === 0 && name !== 'components' ? name.replace('_', ' ') : undefined });
        collect(component.id, depth + 1);
      });
    }
  };
  collect(null, 1);
  if (rows.length === 0) return <Empty icon="flow" title="There are no components yet." />;

  const onKey = (event: KeyboardEvent<HTMLElement>) => {
    const move = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (move === 0) return;
    event.preventDefault();
    event.stopPropagation();
    const rowsNow = [...event.currentTarget.querySelectorAll<HTMLElement>('[role="treeitem"]')];
    const next = rowsNow[rowsNow.indexOf(document.activeElement as HTMLElement) + move];
    next?.focus();
  };
  const first = rows.find((row) => selection.has(row.component.id))?.component.id ?? rows[0]?.component.id;
  return (
    <div className="outline" role="tree" aria-label="Outline" aria-multiselectable="true" onKeyDown={onKey}>
      {rows.map(({ component, depth, scope }) => {
        const wrong = placed.filter((each) => each.component === component.id && each.mistake.severity === 'error').length;
        return (
          <div key={component.id} role="none">
            {scope && (
              <div className="outline-scope" style={{ paddingLeft: depth * 14 }} role="none">
                {scope}
              </div>
            )}
            <div
              role="treeitem"
              aria-level={depth}
              aria-selected={selection.has(component.id)}
              tabIndex={component.id === first ? 0 : -1}
              className={`outline-row${selection.has(component.id) ? ' is-selected' : ''}`}
              style={{ paddingLeft: depth * 14 - 4 }}
              onClick={(event) => {
                const next = event.shiftKey ? new Set(selection) : new Set<string>();
                if (!next.delete(component.id)) next.add(component.id);
                onSelect(next);
              }}
              onKeyDown={(event) => {
                if (event.key === 'Enter' || event.key === ' ') {
                  event.preventDefault();
                  onSelect(new Set([component.id]));
                }
              }}
            >
              <Icon name={iconOf(types.of(component.type))} size={14} />
              <span className="outline-text">
                <span className="clip">{component.title ?? component.id}</span>
                <span className="dim clip">
                  {component.type}
                  {component.needs.length > 0 && ` · after ${component.needs.map(({ id, port }) => needText(id, port)).join(', ')}`}
                </span>
              </span>
              {pins[component.id] && (
                <span className="card-mark" title="Its data is pinned">
                  <Icon name="pin" size={12} />
                  <span className="visually-hidden">pinned data</span>
                </span>
              )}
              {standing.has(component.id) && <Status status={standing.get(component.id)?.state ?? ''} compact />}
              {wrong > 0 && (
                <span className="card-count bad" aria-label={`${wrong} mistakes`}>
                  {wrong}
                </span>
              )}
            </div>
          </div>
        );
      })}
    </div>
  );
}
