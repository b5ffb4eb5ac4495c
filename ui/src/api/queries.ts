import { infiniteQueryOptions, keepPreviousData, queryOptions, type QueryClient } from '@tanstack/react-query';

import { answer, api, ApiProblem, type LogEntry } from './client';

export interface ExecutionFilter {
  status?: string | undefined;
  workflow?: string | undefined;
  tag?: string | undefined;
  failing?: boolean | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** Pages of a list: each answer says where the next one begins. */
const pages = { initialPageParam: undefined as string | undefined };
const next = (page: { next_cursor?: string | null }) => page.next_cursor ?? undefined;

export const workflowsQuery = (search: string, status: string | undefined) =>
  infiniteQueryOptions({
    queryKey: ['workflows', search, status ?? ''],
    queryFn: ({ pageParam, signal }) =>
      answer(
        api.GET('/api/v1/workflows', {
          params: { query: { limit: 25, ...(search && { search }), ...(status && { status }), ...(pageParam && { cursor: pageParam }) } },
          signal,
        }),
      ),
    ...pages,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
  });

/** The newest executions of one workflow, for its strip in the list. */
export const lastExecutionsQuery = (workflow: string) =>
  queryOptions({
    queryKey: ['executions', 'last', workflow],
    queryFn: ({ signal }) =>
      answer(api.GET('/api/v1/executions', { params: { query: { workflow_id: workflow, limit: 10 } }, signal })),
    staleTime: 10_000,
    refetchInterval: 15_000,
  });

const SPANS: Record<string, number> = { hour: 3_600_000, day: 86_400_000, week: 604_800_000 };

/** A span that ends now, by its name, as the instant it begins at; an instant is taken as it is. */
function since(from: string): string {
  const ms = SPANS[from];
  return ms === undefined ? from : new Date(Date.now() - ms).toISOString();
}

export const executionsQuery = (filter: ExecutionFilter) =>
  infiniteQueryOptions({
    queryKey: ['executions', 'list', filter],
    queryFn: ({ pageParam, signal }) =>
      answer(
        api.GET('/api/v1/executions', {
          params: {
            query: {
              limit: 50,
              ...(filter.status && { status: filter.status }),
              ...(filter.workflow && { workflow_id: filter.workflow }),
              ...(filter.tag && { tag: filter.tag }),
              ...(filter.failing && { failing: true }),
              ...(filter.from && { created_from: since(filter.from) }),
              ...(filter.to && { created_to: filter.to }),
              ...(pageParam && { cursor: pageParam }),
            },
          },
          signal,
        }),
      ),
    ...pages,
    getNextPageParam: next,
    placeholderData: keepPreviousData,
    // Only the first page may change by itself; with more pages open, rows would move under the reader.
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) > 1 ? false : 5_000),
  });

export const workflowQuery = (id: string) =>
  queryOptions({
    queryKey: ['workflow', id],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/workflows/{id}', { params: { path: { id } }, signal })),
  });

/** The draft of a workflow, or null when there is none. */
export const draftQuery = (id: string) =>
  queryOptions({
    queryKey: ['draft', id],
    queryFn: async ({ signal }) => {
      try {
        return await answer(api.GET('/api/v1/workflows/{id}/draft', { params: { path: { id } }, signal }));
      } catch (error) {
        if (error instanceof ApiProblem && error.status === 404) return null;
        throw error;
      }
    },
    staleTime: 0,
  });

export const versionQuery = (workflow: string, version: number) =>
  queryOptions({
    queryKey: ['version', workflow, version],
    queryFn: ({ signal }) =>
      answer(
        api.GET('/api/v1/workflows/{id}/versions/{version}', {
          params: { path: { id: workflow, version: String(version) as never } },
          signal,
        }),
      ),
    staleTime: Infinity,
  });

export const componentsQuery = queryOptions({
  queryKey: ['components'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/components', { signal })),
  staleTime: Infinity,
});

export const executionQuery = (id: string) =>
  queryOptions({
    queryKey: ['execution', id],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/executions/{id}', { params: { path: { id } }, signal })),
  });

/** All pages of a list that grows at its end: asking again begins at the last page that is known. */
interface Grown<T> {
  items: T[];
  /** How many items stand before the last page, and where that page begins. */
  settled: number;
  cursor: string | undefined;
}

async function grow<T>(
  known: Grown<T> | undefined,
  page: (cursor: string | undefined) => Promise<{ items: T[]; next_cursor?: string | null }>,
): Promise<Grown<T>> {
  const items = known ? known.items.slice(0, known.settled) : [];
  let cursor = known?.cursor;
  for (;;) {
    const got = await page(cursor);
    const settled = items.length;
    items.push(...got.items);
    if (!got.next_cursor || got.next_cursor === cursor) return { items, settled, cursor };
    cursor = got.next_cursor;
  }
}

/** Attempts, as far as somebody looks: they change after they were listed, so every page that was read is read again. */
export const tasksQuery = (id: string) =>
  infiniteQueryOptions({
    queryKey: ['execution', id, 'tasks'],
    queryFn: ({ pageParam, signal }) =>
      answer(
        api.GET('/api/v1/executions/{id}/tasks', {
          params: { path: { id }, query: { limit: 500, ...(pageParam && { cursor: pageParam }) } },
          signal,
        }),
      ),
    ...pages,
    getNextPageParam: (page, _, cursor) => (page.next_cursor === cursor ? undefined : next(page)),
  });

/**
 * Asks for what the page of an execution shows first. What waits for the execution is on its way before the page is drawn with
 * it. What cannot be read the page says.
 */
export async function readAhead(client: QueryClient, id: string): Promise<void> {
  const execution = await client.ensureQueryData(executionQuery(id)).catch(() => undefined);
  if (!execution) return;
  await Promise.all([client.prefetchInfiniteQuery(tasksQuery(id)), client.prefetchQuery(versionQuery(execution.workflow_id, execution.workflow_version))]);
}

export const logsQuery = (id: string, level: string | undefined, component: string | undefined) => {
  const queryKey = ['execution', id, 'logs', level ?? '', component ?? ''];
  return queryOptions({
    queryKey,
    queryFn: ({ signal, client }) =>
      grow(client.getQueryData<Grown<LogEntry>>(queryKey), (cursor) =>
        answer(
          api.GET('/api/v1/executions/{id}/logs', {
            params: {
              path: { id },
              query: { limit: 500, ...(level && { level }), ...(component && { component }), ...(cursor && { cursor }) },
            },
            signal,
          }),
        ),
      ),
  });
};

/** One turn of a journal, as far as it is read here. */
export interface Turn {
  seq: number;
  at: string;
  cause?: unknown;
  events: unknown[];
}

export const journalQuery = (id: string) => {
  const queryKey = ['execution', id, 'journal'];
  return queryOptions({
    queryKey,
    queryFn: ({ signal, client }) =>
      grow(client.getQueryData<Grown<Turn>>(queryKey), async (cursor) => {
        const page = await answer(
          api.GET('/api/v1/executions/{id}/journal', {
            params: { path: { id }, query: { limit: 500, ...(cursor && { cursor }) } },
            signal,
          }),
        );
        return page as unknown as { items: Turn[]; next_cursor?: string | null };
      }),
  });
};

export const whyQuery = (id: string) =>
  queryOptions({
    queryKey: ['execution', id, 'why'],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/executions/{id}/why', { params: { path: { id } }, signal })),
  });

export const humanTasksQuery = (filter: { execution?: string; status?: string }) =>
  queryOptions({
    queryKey: ['human-tasks', filter],
    queryFn: ({ signal }) =>
      answer(
        api.GET('/api/v1/human-tasks', {
          params: {
            query: {
              limit: 100,
              ...(filter.execution && { execution_id: filter.execution }),
              ...(filter.status && { status: filter.status as never }),
            },
          },
          signal,
        }),
      ),
  });

export const workersQuery = queryOptions({
  queryKey: ['workers'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/workers', { signal })),
  refetchInterval: 5_000,
});

export const healthQuery = queryOptions({
  queryKey: ['health'],
  queryFn: async ({ signal }) => {
    // A health that is down answers 503 with the same body.
    const { data, error } = await api.GET('/health/detailed', { signal });
    const health = data ?? error;
    if (!health) throw new ApiProblem(0, 'unreachable', 'The server does not answer. Is it running?');
    return health;
  },
  refetchInterval: 15_000,
  retry: false,
});
