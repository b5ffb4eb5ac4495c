import { useQueryClient, type QueryClient } from '@tanstack/react-query';
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';

import { isAttended, onReturn } from '../api/attention';
import { answer, api, ApiProblem, type Draft } from '../api/client';
import { draftQuery, workflowQuery } from '../api/queries';
import type { Standing } from '../collab/room';
import type { Kept, Session } from '../collab/session';
import { textOfDefinition } from '../model/document';
import type { Shared } from '../model/shared';

/** How long after the last change a draft is kept, in milliseconds. */
const REST = 900;
/** How long after somebody else's last change it is kept here, if they do not say that they kept it, in milliseconds. */
const OTHERS = 5_000;
/** How long after somebody else's last change it is written down in this browser, in milliseconds. */
const WRITE = 250;
/** How long somebody who kept a draft takes at most to say so, in milliseconds. */
const MOMENT = 400;
/** How often the server is asked whether somebody who is not in the room kept a draft, in milliseconds, while somebody is at the page. */
const LOOK = 10_000;
/** How often another draft is taken over before a person is asked. */
const MEETINGS = 5;

export type SaveState =
  | { kind: 'saved'; at: string | undefined }
  | { kind: 'unsaved' }
  | { kind: 'saving' }
  | { kind: 'failed'; error: ApiProblem }
  /** Somebody else kept another draft meanwhile. */
  | { kind: 'overtaken' };

const localKey = (id: string) => `apg.draft.${id}`;

/** A text that the server does not have yet, and the one it was made of. */
interface Local {
  text: string;
  base: string;
}

/** A change that was not yet kept by the server when the page went. */
export function localDraft(id: string): Local | undefined {
  try {
    const { text, base } = (JSON.parse(localStorage.getItem(localKey(id)) ?? 'null') ?? {}) as Partial<Local>;
    return typeof text === 'string' && typeof base === 'string' ? { text, base } : undefined;
  } catch {
    return undefined; // Not ours.
  }
}

export function forgetLocal(id: string): void {
  localStorage.removeItem(localKey(id));
}

/** Keeps a text in this browser until the server has it; a full store is no reason to stop somebody's work. */
export function keepLocal(id: string, text: string, base: string): boolean {
  try {
    localStorage.setItem(localKey(id), JSON.stringify({ text, base } satisfies Local));
    return true;
  } catch {
    return false;
  }
}

/** What the server has under a workflow: its draft, or what is published. */
export async function readKept(client: QueryClient, id: string): Promise<Kept> {
  const draft = await client.fetchQuery({ ...draftQuery(id), staleTime: 0 });
  if (draft) return { text: textOfDefinition(draft.definition), revision: draft.revision };
  const workflow = await client.fetchQuery({ ...workflowQuery(id), staleTime: 0 });
  return { text: textOfDefinition(workflow.definition), revision: 0 };
}

/**
 * Keeps the draft of a workflow on the server, a moment after each change.
 *
 * Whoever changes something keeps it. What somebody else changed is kept by them; only when they do not say so for a
 * while it is kept here.
 */
export function useDraft(
  id: string,
  shared: Shared,
  session: Session | undefined,
  standing: Standing,
  first: Kept & { at: string | undefined },
): {
  state: SaveState;
  /** Keeps what there is now, and gives the revision that holds it; undefined when there is no draft. */
  flush: () => Promise<number | undefined>;
  revision: number;
  retry: () => void;
  overwrite: () => void;
  /** The server has this text, under this revision (0: no draft). */
  settle: (text: string, revision: number) => void;
  /** Another person kept a draft. */
  heard: (revision: number, text: string | undefined) => void;
  /** The draft on the server and this document have nothing in common that is known. */
  part: () => void;
} {
  const client = useQueryClient();
  const { read: { text }, isOwn } = useSyncExternalStore(shared.subscribe, shared.see);
  const [state, setState] = useState<SaveState>({ kind: 'saved', at: first.at });
  const [revision, setRevision] = useState(first.revision);
  const kept = useRef<Kept>({ text: first.text, revision: first.revision });
  const saving = useRef<Promise<void> | undefined>(undefined);
  const told = useRef(session);
  told.current = session;

  /** Whether the draft is in this document, but was never read here as a text. */
  const isUnread = useRef(false);
  const agree = useCallback((now: Kept) => {
    kept.current = now;
    isUnread.current = false;
    setRevision(now.revision);
  }, []);

  /** Somebody else kept another draft than `before`: it becomes part of this document. Answers whether it could. */
  const meet = useCallback(async (before: number): Promise<boolean> => {
    // They may have said so while the answer was on its way.
    if (kept.current.revision !== before) return true;
    const mayTake = (await told.current?.settled()) ?? true;
    // If they are in the same document, they say so in a moment.
    await new Promise((resolve) => setTimeout(resolve, MOMENT));
    if (kept.current.revision !== before) return true;
    if (!mayTake) throw new ApiProblem(0, 'offline', 'What others did comes when the connection to them is back.');
    const theirs = await readKept(client, id);
    if (!shared.take(theirs.text, kept.current.text)) return false;
    agree(theirs);
    told.current?.tellSaved(theirs);
    return true;
  }, [client, id, shared, agree]);

  const save = useCallback(async (): Promise<void> => {
    for (let met = 0; shared.text !== kept.current.text; ) {
      const sent = shared.text;
      const follows = kept.current.revision;
      setState({ kind: 'saving' });
      try {
        const draft: Draft = await answer(
          api.PUT('/api/v1/workflows/{id}/draft', {
            params: { path: { id }, header: { 'If-Match': `"${follows}"` } },
            body: { definition: sent },
          }),
        );
        agree({ text: sent, revision: draft.revision });
        told.current?.tellSaved(kept.current);
        client.setQueryData(draftQuery(id).queryKey, draft);
        if (shared.text === sent) {
          forgetLocal(id);
          setState({ kind: 'saved', at: draft.updated_at });
        }
      } catch (error) {
        let problem = error instanceof ApiProblem ? error : new ApiProblem(0, 'unknown', String(error));
        if (problem.code === 'stale_version' && met < MEETINGS) {
          met += 1;
          try {
            if (await meet(follows)) continue;
          } catch (failed) {
            problem = failed instanceof ApiProblem ? failed : new ApiProblem(0, 'unknown', String(failed));
          }
        }
        setState(problem.code === 'stale_version' ? { kind: 'overtaken' } : { kind: 'failed', error: problem });
        throw problem;
      }
    }
    forgetLocal(id);
    setState((before) => (before.kind === 'saved' ? before : { kind: 'saved', at: undefined }));
  }, [client, id, shared, agree, meet]);

  const start = useCallback((): Promise<void> => {
    // One after the other: two answers on their way could arrive in the wrong order.
    saving.current ??= save().finally(() => (saving.current = undefined));
    return saving.current;
  }, [save]);

  useEffect(() => {
    if (text === kept.current.text) {
      setState((before) => (before.kind === 'unsaved' ? { kind: 'saved', at: undefined } : before));
      return undefined;
    }
    setState((before) => (before.kind === 'overtaken' || before.kind === 'unsaved' ? before : { kind: 'unsaved' }));
    // What somebody else did is with them, too. Writing it down at each of their letters would hold up what shows it.
    const writing = isOwn ? undefined : setTimeout(() => keepLocal(id, text, kept.current.text), WRITE);
    if (isOwn) keepLocal(id, text, kept.current.text);
    const timer = setTimeout(
      () => {
        // What went wrong is in the state already.
        if (shared.text !== kept.current.text) start().catch(() => undefined);
      },
      isOwn ? REST : OTHERS,
    );
    return () => {
      clearTimeout(timer);
      clearTimeout(writing);
    };
  }, [id, text, isOwn, shared, start, revision]);

  useEffect(() => {
    const leave = (event: BeforeUnloadEvent) => {
      if (shared.text !== kept.current.text) event.preventDefault();
    };
    const write = () => {
      if (shared.text !== kept.current.text) keepLocal(id, shared.text, kept.current.text);
    };
    addEventListener('beforeunload', leave);
    addEventListener('pagehide', write);
    return () => {
      removeEventListener('beforeunload', leave);
      removeEventListener('pagehide', write);
    };
  }, [id, shared]);

  const retry = useCallback(() => void start().catch(() => undefined), [start]);
  useEffect(() => {
    addEventListener('online', retry);
    return () => removeEventListener('online', retry);
  }, [retry]);
  // What could not be kept while others were away can be now.
  const hasFailed = useRef(false);
  hasFailed.current = state.kind === 'failed';
  const isLive = standing === 'live';
  useEffect(() => {
    if (isLive && hasFailed.current) retry();
  }, [isLive, retry]);

  // Who is in the room tells of each change. What came in through the API, or from where there is no way to the room, is seen here.
  useEffect(() => {
    const look = async () => {
      if (!isAttended() || !navigator.onLine || saving.current) return;
      const before = kept.current;
      const now = await readKept(client, id);
      if (kept.current !== before || saving.current || (now.revision === before.revision && now.text === before.text)) return;
      if (isUnread.current && now.revision === before.revision) return agree(now);
      // Who is in the same document says so in a moment, and what they did is here then.
      if (!((await told.current?.settled()) ?? true)) return;
      await new Promise((resolve) => setTimeout(resolve, MOMENT));
      if (kept.current !== before || saving.current) return;
      if (!shared.take(now.text, before.text)) return; // They are asked when something is kept here.
      agree(now);
      told.current?.tellSaved(now);
    };
    let looking: Promise<void> | undefined;
    // What cannot be read now is read at the next look.
    const glance = () => {
      looking ??= look()
        .catch(() => undefined)
        .finally(() => (looking = undefined));
    };
    const timer = setInterval(glance, LOOK);
    const leave = onReturn(glance);
    addEventListener('focus', glance);
    return () => {
      clearInterval(timer);
      leave();
      removeEventListener('focus', glance);
    };
  }, [client, id, shared, agree]);

  const overwrite = useCallback(() => {
    void (async () => {
      try {
        const now = await client.fetchQuery({ ...draftQuery(id), staleTime: 0 });
        kept.current = { text: '', revision: now?.revision ?? 0 };
        await start();
      } catch {
        // `start` has said what went wrong; a draft that cannot be read is tried again by hand.
      }
    })();
  }, [client, id, start]);

  return {
    state,
    revision,
    flush: async () => {
      await start();
      return kept.current.revision === 0 ? undefined : kept.current.revision;
    },
    retry,
    overwrite,
    settle: useCallback(
      (settled: string, at: number) => {
        agree({ text: settled, revision: at });
        told.current?.tellSaved(kept.current);
        forgetLocal(id);
        setState({ kind: 'saved', at: undefined });
      },
      [id, agree],
    ),
    heard: useCallback(
      (at: number, heard: string | undefined) => {
        // Whatever text it was, it is in this document: what somebody keeps they have told of before.
        agree({ text: heard ?? kept.current.text, revision: at });
        isUnread.current = heard === undefined;
        if (heard === shared.text) {
          forgetLocal(id);
          setState({ kind: 'saved', at: undefined });
        }
      },
      [id, shared, agree],
    ),
    part: useCallback(() => setState({ kind: 'overtaken' }), []),
  };
}
