import { useQueryClient } from '@tanstack/react-query';
import { useCallback, useEffect, useRef, useState } from 'react';

import { answer, api, ApiProblem, type Draft } from '../api/client';
import { draftQuery } from '../api/queries';

/** How long after the last change a draft is kept, in milliseconds. */
const REST = 900;

export type SaveState =
  | { kind: 'saved'; at: string | undefined }
  | { kind: 'unsaved' }
  | { kind: 'saving' }
  | { kind: 'failed'; error: ApiProblem }
  /** Somebody else kept another draft meanwhile. */
  | { kind: 'overtaken' };

const localKey = (id: string) => `apg.draft.${id}`;

/** A change that was not yet kept by the server when the page went. */
export function localDraft(id: string): string | undefined {
  return localStorage.getItem(localKey(id)) ?? undefined;
}

export function forgetLocal(id: string): void {
  localStorage.removeItem(localKey(id));
}

/** Keeps a text in this browser until the server has it; a full store is no reason to stop somebody's work. */
export function keepLocal(id: string, text: string): boolean {
  try {
    localStorage.setItem(localKey(id), text);
    return true;
  } catch {
    return false;
  }
}

/** Keeps the draft of a workflow on the server, a moment after each change. */
export function useDraft(
  id: string,
  text: string,
  first: { revision: number; text: string; at: string | undefined },
): {
  state: SaveState;
  /** Keeps what there is now, and gives the revision that holds it; undefined when there is no draft. */
  flush: () => Promise<number | undefined>;
  revision: number;
  retry: () => void;
  overwrite: () => void;
  /** The text is what the server has, under this revision (0: no draft). */
  settle: (text: string, revision: number) => void;
} {
  const client = useQueryClient();
  const [state, setState] = useState<SaveState>({ kind: 'saved', at: first.at });
  const [revision, setRevision] = useState(first.revision);
  const kept = useRef({ text: first.text, revision: first.revision });
  const latest = useRef(text);
  const saving = useRef<Promise<void> | undefined>(undefined);
  latest.current = text;

  const save = useCallback(async (): Promise<void> => {
    while (latest.current !== kept.current.text) {
      const sent = latest.current;
      setState({ kind: 'saving' });
      try {
        const draft: Draft = await answer(
          api.PUT('/api/v1/workflows/{id}/draft', {
            params: { path: { id }, header: { 'If-Match': `"${kept.current.revision}"` } },
            body: { definition: sent },
          }),
        );
        kept.current = { text: sent, revision: draft.revision };
        setRevision(draft.revision);
        client.setQueryData(draftQuery(id).queryKey, draft);
        if (latest.current === sent) {
          forgetLocal(id);
          setState({ kind: 'saved', at: draft.updated_at });
        }
      } catch (error) {
        const problem = error instanceof ApiProblem ? error : new ApiProblem(0, 'unknown', String(error));
        setState(problem.code === 'stale_version' ? { kind: 'overtaken' } : { kind: 'failed', error: problem });
        throw problem;
      }
    }
  }, [client, id]);

  const start = useCallback((): Promise<void> => {
    // One after the other: two answers on their way could arrive in the wrong order.
    saving.current ??= save().finally(() => (saving.current = undefined));
    return saving.current;
  }, [save]);

  useEffect(() => {
    if (text === kept.current.text) return;
    keepLocal(id, text);
    setState((before) => (before.kind === 'overtaken' ? before : { kind: 'unsaved' }));
    const timer = setTimeout(() => {
      // What went wrong is in the state already.
      start().catch(() => undefined);
    }, REST);
    return () => clearTimeout(timer);
  }, [id, text, start]);

  useEffect(() => {
    const leave = (event: BeforeUnloadEvent) => {
      if (latest.current !== kept.current.text) event.preventDefault();
    };
    addEventListener('beforeunload', leave);
    return () => removeEventListener('beforeunload', leave);
  }, []);

  const retry = useCallback(() => void start().catch(() => undefined), [start]);
  useEffect(() => {
    addEventListener('online', retry);
    return () => removeEventListener('online', retry);
  }, [retry]);

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
        kept.current = { text: settled, revision: at };
        setRevision(at);
        forgetLocal(id);
        setState({ kind: 'saved', at: undefined });
      },
      [id],
    ),
  };
}
