import { answer, api, type Attempt, type Execution } from '../api/client';
import type { Data } from '../model/expressions';

/** Attempts that are read: more than these are of loops, whose rounds look alike. */
const MOST = 500;
/** Executions that are looked at, while each of them was a try that left something out. */
const DEEPEST = 3;
/** Whether a try left a component out. */
const isLeftOut = ({ pinned, status }: Attempt) => pinned === true && status === 'skipped';

/** What expressions of an execution saw, as far as it can be read: of a component in a loop, its last round. */
export function dataOf(execution: Execution, attempts: readonly Attempt[]): Data {
  const components: Record<string, Record<string, unknown>> = {};
  for (const { component, output, status, failure, attempt } of attempts) {
    components[component] = {
      ...(output !== undefined && { output }),
      status,
      ...(failure && { error: { class: failure.class, message: failure.message, details: failure.details } }),
      attempts: attempt,
    };
  }
  return {
    parameters: execution.parameters ?? {},
    components,
    execution: { id: execution.id, started_at: execution.started_at, status: execution.status },
    workflow: { name: execution.workflow_name, version: execution.workflow_version },
  };
}

/** One execution with its attempts. */
export interface Seen {
  execution: Execution;
  attempts: readonly Attempt[];
}

/** What several executions had, the newest first: of what a try left out, what an older one had. */
export function together(seen: readonly Seen[]): { data: Data; attempts: ReadonlyMap<string, Attempt> } | null {
  const newest = seen[0];
  if (!newest) return null;
  const attempts = new Map<string, Attempt>();
  const components: Record<string, unknown> = {};
  for (const { execution, attempts: own } of [...seen].reverse()) {
    const tried = own.filter((each) => !isLeftOut(each));
    for (const each of tried) attempts.set(each.component, each);
    Object.assign(components, dataOf(execution, tried)['components']);
  }
  return { data: { ...dataOf(newest.execution, []), components }, attempts };
}

/** Reads the newest execution of a workflow, and older ones as far as a try left something out; null when there was none. */
export async function readLast(workflow: string, signal: AbortSignal) {
  const list = await answer(api.GET('/api/v1/executions', { params: { query: { workflow_id: workflow, limit: DEEPEST } }, signal }));
  const seen: Seen[] = [];
  for (const { id } of list.items) {
    const params = { path: { id } };
    const [execution, tasks] = await Promise.all([
      answer(api.GET('/api/v1/executions/{id}', { params, signal })),
      answer(api.GET('/api/v1/executions/{id}/tasks', { params: { ...params, query: { limit: MOST } }, signal })),
    ]);
    seen.push({ execution, attempts: tasks.items });
    if (!tasks.items.some(isLeftOut)) break;
  }
  return together(seen);
}
