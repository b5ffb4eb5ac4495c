import type { Mistake } from '../api/client';
import type { Component, Workflow } from '../model/document';

/** A mistake with the component it is in, and where below that. */
export interface Placed {
  mistake: Mistake;
  component: string | undefined;
  /** Below the component, or below the workflow. */
  path: string[];
}

const under = (path: readonly string[], prefix: readonly string[]) => prefix.every((part, at) => path[at] === part);

/** Finds the innermost component that each mistake is in. */
export function place(mistakes: readonly Mistake[], workflow: Workflow): Placed[] {
  return mistakes.map((mistake) => {
    let best: Component | undefined;
    for (const component of workflow.components.values()) {
      if (under(mistake.path, component.path) && component.path.length > (best?.path.length ?? 0)) best = component;
    }
    return { mistake, component: best?.id, path: mistake.path.slice(best?.path.length ?? 0) };
  });
}

/** The mistakes of one field of a component, as its form takes them. */
export function ofField(placed: readonly Placed[], component: string | undefined, field: string): { path: string[]; message: string }[] {
  return placed
    .filter((each) => each.component === component && each.path[0] === field)
    .map(({ path, mistake }) => ({ path: path.slice(1), message: said(mistake) }));
}

/** What a mistake says, with what was probably meant. */
export function said({ message, suggestion }: Mistake): string {
  return suggestion ? `${message} (${suggestion})` : message;
}
