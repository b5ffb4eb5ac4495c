import { queryOptions, useQuery } from '@tanstack/react-query';
import { useCallback, useMemo, useState } from 'react';

import type { LastData } from '../schema-form/lastData';

/** The data of the newest execution of a workflow; null when there was none. How it is read comes when it is wanted. */
const lastDataQuery = (workflow: string) =>
  queryOptions({
    queryKey: ['workflow', workflow, 'last-data'],
    queryFn: ({ signal }) => import('./lastRead').then(({ readLast }) => readLast(workflow, signal)),
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
  return useMemo(() => ({ data: data?.data, attempts: data?.attempts, reason, want }), [data, reason, want]);
}
