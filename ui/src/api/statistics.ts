import { keepPreviousData, queryOptions } from '@tanstack/react-query';

import { RANGES, spanOf, type Range } from '../dashboard/series';
import { answer, api, type Schemas } from './client';

export type Statistics = Schemas['Statistics'];
export type Bucket = Schemas['StatisticsItem'];

export const statisticsQuery = (range: Range, workflow: string | undefined) =>
  queryOptions({
    queryKey: ['statistics', range, workflow ?? ''],
    queryFn: ({ signal }) => {
      const { from, to } = spanOf(range, Date.now());
      const query = { from, to, bucket: RANGES[range].bucket, ...(workflow !== undefined && { workflow_id: workflow }) };
      return answer(api.GET('/api/v1/statistics', { params: { query }, signal }));
    },
    placeholderData: keepPreviousData,
    refetchInterval: range === '1h' ? 10_000 : 60_000,
  });

/** Messages nobody could use, the newest few. */
export const deadLettersQuery = queryOptions({
  queryKey: ['dead-letters', 'newest'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/dead-letters', { params: { query: { limit: 5 } }, signal })),
  refetchInterval: 30_000,
});

/** The newest executions that are as a filter says, for a short list. */
export const someExecutionsQuery = (filter: { status?: string; failing?: true; workflow?: string | undefined }, limit: number) =>
  queryOptions({
    queryKey: ['executions', 'some', filter, limit],
    queryFn: ({ signal }) =>
      answer(
        api.GET('/api/v1/executions', {
          params: {
            query: {
              limit,
              ...(filter.status && { status: filter.status }),
              ...(filter.failing && { failing: true }),
              ...(filter.workflow && { workflow_id: filter.workflow }),
            },
          },
          signal,
        }),
      ),
    refetchInterval: 10_000,
  });
