import type { Mistake } from '../api/client';
import type { Sight } from '../api/live';
import type { Pinned, TriedComponent } from '../api/try';
import type { Count } from '../canvas/Canvas';
import type { Workflow } from '../model/document';
import type { Pins } from './pins';
import { place, said } from './problems';

/** Everything that has to have its data before a component can run: what it needs, and what its containers need. */
export function before(workflow: Workflow, id: string): Set<string> {
  const found = new Set<string>();
  for (let at = workflow.components.get(id); at; at = at.scope.parent === null ? undefined : workflow.components.get(at.scope.parent)) {
    const open = at.needs.map((each) => each.id);
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (found.has(next) || !workflow.components.has(next)) continue;
      found.add(next);
      open.push(...(workflow.components.get(next)?.needs.map((each) => each.id) ?? []));
    }
    if (at.scope.parent !== null && found.has(at.scope.parent)) break; // A circle of the draft.
  }
  found.delete(id);
  return found;
}

/** The pins that count when a component is tried: of what comes before it. */
export function pinsFor(workflow: Workflow, id: string, pins: Pins): Record<string, Pinned> {
  return Object.fromEntries([...before(workflow, id)].sort().flatMap((each) => (pins[each] ? [[each, pins[each]]] : [])));
}

/** Where a component of a try stands. */
export interface Standing {
  state: string;
  counts: readonly Count[];
  note: string;
}

/** Where everything stands that a try is about; what it leaves out is not in it. */
export function standings(plan: readonly TriedComponent[], workflow: Workflow, sight: Sight | undefined): Map<string, Standing> {
  const fates = new Map(plan.map(({ component, fate }) => [component, fate]));
  const fateOf = (id: string) => {
    const seen = new Set<string>();
    for (let at: string | null = id; at !== null && !seen.has(at); at = workflow.components.get(at)?.scope.parent ?? null) {
      const fate = fates.get(at);
      // What stands in a container that is pinned is not run, and was not pinned itself.
      if (fate) return at !== id && (fate === 'pinned' || fate === 'taken') ? 'left_out' : fate;
      seen.add(at);
    }
    return 'left_out' as const;
  };
  const found = new Map<string, Standing>();
  for (const id of workflow.components.keys()) {
    const fate = fateOf(id);
    if (fate === 'left_out') continue;
    const seen = sight?.components.get(id);
    if (fate === 'pinned' || fate === 'taken') found.set(id, { state: 'pinned', counts: [], note: '' });
    else if (seen || fates.has(id)) {
      found.set(id, {
        state: seen?.state ?? 'waiting',
        counts: seen?.rounds ? [{ ended: seen.rounds.ended, total: seen.rounds.total ?? undefined }] : [],
        note: (seen?.attempt ?? 0) > 1 ? `attempt ${seen?.attempt}` : '',
      });
    }
  }
  return found;
}

/** A pin as it is edited. */
export interface PinDraft {
  kind: 'output' | 'error';
  /** The output as JSON. */
  text: string;
  ports: string[];
  class: string;
  message: string;
}

export function draftOf(pin: Pinned | undefined): PinDraft {
  return {
    kind: pin?.error ? 'error' : 'output',
    text: pin && !pin.error ? JSON.stringify(pin.output, null, 2) : '',
    ports: pin?.ports ?? [],
    class: pin?.error?.class ?? '',
    message: pin?.error?.message ?? '',
  };
}

/** The pin that a draft is, or what is wrong with it. */
export function pinOfDraft(draft: PinDraft): { pin: Pinned; mistake?: undefined } | { pin?: undefined; mistake: string } {
  if (draft.kind === 'error') {
    const given = draft.class.trim();
    if (!/^[a-z][a-z0-9_.]*$/.test(given)) return { mistake: 'A failure has a class, such as timeout or http_5xx.' };
    return { pin: { error: { class: given, message: draft.message } } };
  }
  try {
    return { pin: { output: JSON.parse(draft.text) as unknown, ...(draft.ports.length > 0 && { ports: draft.ports }) } };
  } catch (error) {
    return { mistake: draft.text.trim() === '' ? 'An output is JSON, such as {}, 7 or null.' : `That is not JSON: ${error instanceof Error ? error.message : ''}` };
  }
}

/** Why a try was refused: sentence by sentence, each with the component it is about, when there is one. */
export function refusals(problems: readonly Mistake[], workflow: Workflow): { component: string | undefined; message: string }[] {
  return place(problems, workflow).map(({ mistake, component }) => {
    const first = mistake.path[0];
    return { component: component ?? (mistake.path.length === 1 && first !== undefined && workflow.components.has(first) ? first : undefined), message: said(mistake) };
  });
}
