import type { ComponentType } from '../api/client';
import { CONTAINER_TYPES } from '../generated/components';
import type { Component, Workflow } from './document';

/** What is known of the component types, by every name that is read as one of them. */
export class Types {
  private readonly byName = new Map<string, ComponentType>();

  constructor(readonly all: readonly ComponentType[]) {
    for (const type of all) for (const name of [type.type, ...type.aliases]) this.byName.set(name, type);
  }

  /** The type that a document means; `name@1` names a version of it. */
  of(name: string): ComponentType | undefined {
    return this.byName.get(name.split('@')[0] ?? name);
  }

  /** Whether components of this type may hold others. */
  isContainer(name: string): boolean {
    return CONTAINER_TYPES.has(this.of(name)?.type ?? name);
  }
}

/** Output ports that every component has, and that stay folded until they are used. */
export const FOLDED: readonly string[] = ['error', 'timeout'];

const keys = (value: unknown): string[] => (typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : []);

/** The ports of a component of its own, in the order they are drawn. Some depend on its settings. */
export function ownPorts(component: Component, workflow: Workflow, types: Types): string[] {
  const type = types.of(component.type);
  const config = component.config as Record<string, unknown> | undefined;
  switch (type?.type) {
    case 'switch':
      return [...keys(config?.['cases']), 'default'];
    case 'parallel': {
      const branches = config?.['branches'];
      return Array.isArray(branches) ? branches.filter((each): each is string => typeof each === 'string') : [];
    }
    case 'race':
      return [...workflow.components.values()]
        .filter((each) => each.scope.parent === component.id && each.scope.name === 'components')
        .map((each) => each.id);
    default:
      return (type?.ports ?? []).filter((port) => port !== 'success' && !FOLDED.includes(port));
  }
}

/** The ports that connections lead from, by component. */
export function portsInUse(workflow: Workflow): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { from, port } of workflow.connections) {
    const ports = found.get(from);
    if (ports) ports.add(port);
    else found.set(from, new Set([port]));
  }
  return found;
}

/** The ports that are drawn: `success`, its own, those of the folded ones that are connected, and any that are used though they are not there. */
export function shownPorts(
  component: Component,
  workflow: Workflow,
  types: Types,
  unfolded: boolean,
  inUse: ReadonlyMap<string, ReadonlySet<string>> = portsInUse(workflow),
): string[] {
  const own = ownPorts(component, workflow, types);
  const used = inUse.get(component.id) ?? new Set<string>();
  const folded = FOLDED.filter((port) => unfolded || used.has(port));
  const known = new Set(['success', ...own, ...FOLDED]);
  const strange = [...used].filter((port) => !known.has(port));
  // A component that chooses between ways also fires `success`; that is seldom what is meant, so it comes after them.
  const isRouter = own.length > 0;
  return isRouter ? [...own, ...(used.has('success') || unfolded ? ['success'] : []), ...folded, ...strange] : ['success', ...folded, ...strange];
}

/** What an expression in a component may name: parameters, and what runs before it, the nearest first. */
export function references(workflow: Workflow, id: string): string[] {
  const found: string[] = [];
  const component = workflow.components.get(id);
  const inLoop: string[] = [];
  const failure: string[] = [];
  let at: Component | undefined = component;
  while (at) {
    const open = at.needs.map((each) => each.id);
    const seen = new Set<string>([at.id]);
    for (let next = open.shift(); next !== undefined; next = open.shift()) {
      if (seen.has(next)) continue;
      seen.add(next);
      found.push(`components.${next}.output`);
      open.push(...(workflow.components.get(next)?.needs.map((each) => each.id) ?? []));
    }
    const parent: Component | undefined = at.scope.parent === null ? undefined : workflow.components.get(at.scope.parent);
    if (parent && ['loop', 'for_loop', 'foreach', 'for_each'].includes(parent.type) && inLoop.length === 0) inLoop.push('item', 'index');
    if (parent && ['while_loop', 'while'].includes(parent.type) && inLoop.length === 0) inLoop.push('iteration', 'previous');
    if ((at.scope.name === 'catch' || at.scope.name === 'on_failure') && failure.length === 0) failure.push('error.class', 'error.message', 'error.details');
    at = parent;
  }
  return [
    ...failure,
    ...inLoop,
    ...Object.keys(workflow.parameters).map((name) => `parameters.${name}`),
    ...found,
    'execution.id',
    'execution.started_at',
    'workflow.name',
  ];
}

/** What may be named outside of components, such as in the output of the workflow: all that stands in it directly. */
export function everything(workflow: Workflow): string[] {
  const own = [...workflow.components.values()].filter((each) => each.scope.parent === null && each.scope.name === 'components');
  return [
    ...Object.keys(workflow.parameters).map((name) => `parameters.${name}`),
    ...own.map((each) => `components.${each.id}.output`),
    'execution.id',
    'execution.started_at',
    'workflow.name',
  ];
}
