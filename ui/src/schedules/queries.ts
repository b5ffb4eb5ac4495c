import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';

import { answer, api, type Schemas } from '../api/client';

export type Trigger = Schemas['Trigger'];
export type Backfill = Schemas['Backfill'];
export type BackfillRange = Pick<Schemas['CreateBackfill'], 'from' | 'to' | 'order'>;

const first = undefined as string | undefined;
const next = (page: { next_cursor?: string | null }) => page.next_cursor ?? undefined;

export const schedulesQuery = infiniteQueryOptions({
  queryKey: ['triggers', 'schedules'],
  queryFn: ({ pageParam, signal }) =>
    answer(
      api.GET('/api/v1/triggers', {
        params: { query: { type: 'schedule_trigger', limit: 50, ...(pageParam && { cursor: pageParam }) } },
        signal,
      }),
    ),
  initialPageParam: first,
  getNextPageParam: next,
  refetchInterval: 10_000,
});

export const scheduleQuery = (id: string) =>
  queryOptions({
    queryKey: ['triggers', id],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/triggers/{id}', { params: { path: { id } }, signal })),
  });

/** The next ten fires; asked again each half a minute, because they pass. */
export const nextFiresQuery = (id: string) =>
  queryOptions({
    queryKey: ['triggers', id, 'next'],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/triggers/{id}/next', { params: { path: { id }, query: { count: 10 } }, signal })),
    refetchInterval: 30_000,
  });

export const firesQuery = (id: string) =>
  infiniteQueryOptions({
    queryKey: ['triggers', id, 'fires'],
    queryFn: ({ pageParam, signal }) =>
      answer(api.GET('/api/v1/triggers/{id}/fires', { params: { path: { id }, query: { limit: 20, ...(pageParam && { cursor: pageParam }) } }, signal })),
    initialPageParam: first,
    getNextPageParam: next,
    refetchInterval: 10_000,
  });

export const backfillsQuery = infiniteQueryOptions({
  queryKey: ['backfills'],
  queryFn: ({ pageParam, signal }) =>
    answer(api.GET('/api/v1/backfills', { params: { query: { limit: 50, ...(pageParam && { cursor: pageParam }) } }, signal })),
  initialPageParam: first,
  getNextPageParam: next,
  refetchInterval: 5_000,
});

/** How many fires a backfill of this range would carry out, and the first of them. Nothing is started or kept by asking. */
export const backfillPreviewQuery = (id: string, range: BackfillRange) =>
  queryOptions({
    queryKey: ['triggers', id, 'backfill', range],
    queryFn: async ({ signal }) => {
      const asked = await answer(
        api.POST('/api/v1/triggers/{id}/backfills', { params: { path: { id } }, body: { ...range, reason: 'only counted', dry_run: true }, signal }),
      );
      return asked as Schemas['BackfillPreview'];
    },
    staleTime: 30_000,
  });
