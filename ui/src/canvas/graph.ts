import type { Component, Workflow } from '../model/document';
import { portsInUse, shownPorts, type Types } from '../model/ports';
import type { Graph } from './layout/scene';

/** Which part of a workflow is drawn. */
export interface Scene {
  /** Components whose seldom ports are shown. */
  unfolded?: ReadonlySet<string>;
  /** Containers that are drawn without what they hold. */
  folded?: ReadonlySet<string>;
  /** The container whose inside is drawn, rather than the workflow. */
  inside?: string | undefined;
}

const NOTHING: ReadonlySet<string> = new Set();

/** What holds a component, the innermost first. */
export function containersOf(workflow: Workflow, id: string): string[] {
  const found: string[] = [];
  for (let at = workflow.components.get(id)?.scope.parent; at !== null && at !== undefined; at = workflow.components.get(at)?.scope.parent) {
    if (found.includes(at)) break;
    found.push(at);
  }
  return found;
}

/** The part of a workflow that its layout depends on. */
export function graphOf(workflow: Workflow, types: Types, { unfolded = NOTHING, folded = NOTHING, inside }: Scene = {}): Graph {
  const used = portsInUse(workflow);
  const holders = new Set([...workflow.components.values()].map((each) => each.scope.parent));
  const isDrawn = ({ id }: Component) => {
    const around = containersOf(workflow, id);
    const depth = inside === undefined ? around.length : around.indexOf(inside);
    return depth >= 0 && !around.slice(0, depth).some((each) => folded.has(each));
  };
  const parts = [...workflow.components.values()].filter(isDrawn).map((component) => ({
    id: component.id,
    parent: component.scope.parent,
    scope: component.scope.name,
    isContainer: !folded.has(component.id) && isFrame(component, types, holders),
    ports: shownPorts(component, workflow, types, unfolded.has(component.id), used),
  }));
  return { root: inside ?? null, parts, edges: workflow.connections.map(({ from, to }) => ({ from, to })) };
}

/** Whether a component is drawn as a frame: `parallel` is only when it has `components` instead of `branches`. */
function isFrame(component: Component, types: Types, holders: ReadonlySet<string | null>): boolean {
  if (!types.isContainer(component.type)) return false;
  return component.type !== 'parallel' || holders.has(component.id) || component.fields['components'] !== undefined;
}
