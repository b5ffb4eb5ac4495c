import { useQueryClient, type QueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';

import { signedIn } from '../sign-in/guard';
import { current } from '../sign-in/session';
import { isFinal } from '../ui/status';
import { isAttended, isSeen } from './attention';
import type { Progress } from './client';
import { executionQuery } from './queries';

type ComponentProgress = Progress['components'][number];

/** Where an execution stands, put together from its live events. */
export interface Sight {
  progress: Progress;
  components: ReadonlyMap<string, ComponentProgress>;
  /** The end was seen: nothing follows. */
  ended: boolean;
}

/** Adds one live event to what was seen so far. Older events than the last one change nothing. */
export function see(before: Sight | undefined, kind: 'snapshot' | 'update' | 'end', progress: Progress): Sight {
  if (before && progress.seq < before.progress.seq && kind !== 'end') return before;
  const components = new Map(kind === 'snapshot' ? [] : before?.components);
  for (const component of progress.components) components.set(component.component, component);
  return { progress, components, ended: kind === 'end' };
}

/**
 * Reads everything that is shown of an execution again. What is being read for the first time is not begun anew by that, and
 * may be older than what is known by now; it is read once more.
 */
export async function readAgain(client: QueryClient, id: string): Promise<void> {
  const own = { queryKey: ['execution', id] };
  const early = client.getQueryCache().findAll({ ...own, fetchStatus: 'fetching', predicate: ({ state }) => state.data === undefined });
  await Promise.all([client.invalidateQueries(own), client.invalidateQueries({ queryKey: ['human-tasks'] })]);
  await Promise.all(early.map(({ queryKey }) => client.invalidateQueries({ queryKey, exact: true })));
}

/** What is shown of an execution is old. It is read when somebody comes back to the page. */
function markOld(client: QueryClient, id: string): void {
  for (const queryKey of [['execution', id], ['human-tasks']]) void client.invalidateQueries({ queryKey, refetchType: 'none' });
}

/**
 * Whether everything of an execution was read after its end. It is where the execution was over when it was first read, because
 * whatever belongs to it is read after that.
 */
export async function isReadAfterEnd(client: QueryClient, id: string): Promise<boolean> {
  const { queryKey } = executionQuery(id);
  const execution = await client.ensureQueryData(executionQuery(id)).catch(() => undefined);
  return execution !== undefined && isFinal(execution.status) && client.getQueryState(queryKey)?.dataUpdateCount === 1;
}

export type Connection = 'connecting' | 'live' | 'lost';

/**
 * Watches an execution, when there is one, until its end. Changes are shown once a frame, and lists of it are read again at most
 * once a second while somebody is there.
 */
export function useLive(id: string | undefined): { sight: Sight | undefined; connection: Connection } {
  const client = useQueryClient();
  const [sight, setSight] = useState<Sight>();
  const [connection, setConnection] = useState<Connection>('connecting');

  useEffect(() => {
    let latest: Sight | undefined;
    let frame = 0;
    let refresh: ReturnType<typeof setTimeout> | undefined;
    setSight(undefined);
    setConnection('connecting');
    if (id === undefined) return undefined;

    let source: EventSource;
    let isOver = false;
    let pause = 1_000;
    const again = () => {
      const began = performance.now();
      const done = () => {
        // What takes long to read is read less often: four fifths of the time are the server's own.
        pause = Math.max(1_000, 4 * (performance.now() - began));
      };
      readAgain(client, id).then(done, done);
    };
    const end = async () => {
      void client.invalidateQueries({ queryKey: ['executions'], ...(isSeen() ? {} : { refetchType: 'none' }) });
      if (await isReadAfterEnd(client, id)) return;
      // Nothing follows: who left the page in sight sees how it ended.
      if (isSeen()) again();
      else markOld(client, id);
    };
    const take = (kind: 'snapshot' | 'update' | 'end') => (event: MessageEvent<string>) => {
      latest = see(latest, kind, JSON.parse(event.data) as Progress);
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setSight(latest));
      setConnection('live');
      if (kind === 'end') {
        source.close();
        clearTimeout(refresh);
        refresh = undefined;
        void end();
      } else {
        refresh ??= setTimeout(() => {
          refresh = undefined;
          if (isAttended()) again();
          else markOld(client, id);
        }, pause);
      }
    };
    const takers = { snapshot: take('snapshot'), update: take('update'), end: take('end') };
    let token: string | null | undefined;
    const open = () => {
      token = current()?.csrf;
      source = new EventSource(`/api/v1/executions/${encodeURIComponent(id)}/events`);
      for (const [name, taker] of Object.entries(takers)) source.addEventListener(name, taker);
      // The browser connects again by itself; until then what is shown may be old, and says so.
      source.onerror = () => {
        setConnection('connecting');
        if (source.readyState === EventSource.CLOSED) void refused();
      };
    };
    /** A refusal ends it for good, and does not say why. Where the session has ended, it goes on with the next one. */
    const refused = async () => {
      await signedIn();
      if (isOver) return;
      const now = current();
      if (now?.state === 'signed_in' && now.csrf !== token) open();
      else setConnection('lost');
    };
    open();

    return () => {
      isOver = true;
      source.close();
      cancelAnimationFrame(frame);
      clearTimeout(refresh);
    };
  }, [client, id]);

  return { sight, connection };
}
