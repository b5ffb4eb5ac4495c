import type { Workflow } from '../model/document';
import { portsInUse, shownPorts, type Types } from '../model/ports';
import type { Graph } from './layout/scene';

/** The part of a workflow that its layout depends on. `unfolded` names components whose seldom ports are shown. */
export function graphOf(workflow: Workflow, types: Types, unfolded: ReadonlySet<string>): Graph {
  const used = portsInUse(workflow);
  const parts = [...workflow.components.values()].map((component) => ({
    id: component.id,
    parent: component.scope.parent,
    scope: component.scope.name,
    isContainer: types.isContainer(component.type) && !(component.type === 'parallel' && !holds(workflow, component.id)),
    ports: shownPorts(component, workflow, types, unfolded.has(component.id), used),
  }));
  return { parts, edges: workflow.connections.map(({ from, to }) => ({ from, to })) };
}

/** Whether a component holds others: `parallel` does only when it has `components` instead of `branches`. */
function holds(workflow: Workflow, id: string): boolean {
  return [...workflow.components.values()].some((each) => each.scope.parent === id) || workflow.components.get(id)?.fields['components'] !== undefined;
}
