import { queryOptions, useQuery } from '@tanstack/react-query';
import { useCallback, useMemo, useState } from 'react';

import { answer, api, type Attempt, type Execution } from '../api/client';
import type { Data } from '../model/expressions';
import type { LastData } from '../schema-form/lastData';

/** Attempts that are read: more than these are of loops, whose rounds look alike. */
const MOST = 500;

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

/** The data of the newest execution of a workflow; null when there was none. */
const lastDataQuery = (workflow: string) =>
  queryOptions({
    queryKey: ['workflow', workflow, 'last-data'],
    queryFn: async ({ signal }): Promise<Data | null> => {
      const list = await answer(api.GET('/api/v1/executions', { params: { query: { workflow_id: workflow, limit: 1 } }, signal }));
      const id = list.items[0]?.id;
      if (id === undefined) return null;
      const params = { path: { id } };
      const [execution, tasks] = await Promise.all([
        answer(api.GET('/api/v1/executions/{id}', { params, signal })),
        answer(api.GET('/api/v1/executions/{id}/tasks', { params: { ...params, query: { limit: MOST } }, signal })),
      ]);
      return dataOf(execution, tasks.items);
    },
    staleTime: 30_000,
  });

/** What the last execution of a workflow had; it is read once it is wanted. */
export function useLastData(workflow: string | undefined): LastData {
  const [isWanted, setWanted] = useState(false);
  const { data, isError } = useQuery({ ...lastDataQuery(workflow ?? ''), enabled: isWanted && workflow !== undefined });
  const want = useCallback(() => setWanted(true), []);
  const reason =
    workflow === undefined || data === null
      ? 'There was no execution yet that could show a value.'
      : isError
        ? 'The last execution could not be read, so there is no value to show.'
        : 'Reading the last execution…';
  return useMemo(() => ({ data: data ?? undefined, reason, want }), [data, reason, want]);
}
