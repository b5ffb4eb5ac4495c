import { keepPreviousData, queryOptions } from '@tanstack/react-query';

import { ask, type Progress } from './client';

export interface Moment extends Progress {
  last_seq: number;
}

export const momentQuery = (id: string, seq: number) =>
  queryOptions({
    // Not below the execution: what was does not change, whatever its stream tells.
    queryKey: ['moment', id, seq],
    queryFn: ({ signal }) => ask<Moment>(`/api/v1/executions/${encodeURIComponent(id)}/progress?at=${seq}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
  });
