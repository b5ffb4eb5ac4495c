import { keepPreviousData, queryOptions } from '@tanstack/react-query';

import { answer, api, type Schemas } from './client';

export type Moment = Schemas['Moment'];

export const momentQuery = (id: string, seq: number) =>
  queryOptions({
    // Not below the execution: what was does not change, whatever its stream tells.
    queryKey: ['moment', id, seq],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/executions/{id}/progress', { params: { path: { id }, query: { at: seq } }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
  });
