import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useEffect, useMemo, useRef, useState } from 'react';

import { answer, api, type ComponentType, type Draft, type Workflow } from '../api/client';
import { componentsQuery, draftQuery, workflowQuery } from '../api/queries';
import type { Standing } from '../collab/room';
import { EMPTY, textOfDefinition } from '../model/document';
import { Types } from '../model/ports';
import { merged } from '../model/shared';
import { usePermission } from '../sign-in/permission';
import { ExecuteDialog } from '../workflows/ExecuteButton';
import { Icon } from '../ui/Icon';
import { say, sayProblem } from '../ui/notify';
import { onDemand } from '../ui/onDemand';
import { useTitle } from '../ui/Page';
import { Failed, Loading } from '../ui/States';
import { Ago } from '../ui/Time';
import { Designer } from './Designer';
import { Presence } from './Presence';
import { forgetPending, useDocument } from './useDocument';
import { forgetLocal, keepLocal, localDraft, readKept, useDraft, type SaveState } from './useDraft';
import { useSession } from './useSession';

const PublishDialog = onDemand(() => import('./Publish').then((part) => part.PublishDialog));

const route = getRouteApi('/workflows/$id/edit');
/** Where the drawing of a workflow that was never published is kept in this browser. */
const NEW = 'new';

/** The one visible word about whether what is drawn is safe. */
function Saved({ state, standing, retry }: { state: SaveState; standing: Standing; retry: () => void }) {
  if (standing === 'barred') {
    return (
      <span className="save-state is-bad" role="status">
        <Icon name="alert" size={12} /> You may not open this workflow any more: what you did is kept in this browser
      </span>
    );
  }
  if (standing === 'away' || (state.kind === 'failed' && !navigator.onLine)) {
    return (
      <span className="save-state is-bad" role="status">
        <Icon name="alert" size={12} /> Offline: your changes are kept here and are merged when the connection is back
      </span>
    );
  }
  switch (state.kind) {
    case 'saved':
      return (
        <span className="save-state" role="status">
          <Icon name="check" size={12} /> {state.at ? <span>Saved <Ago at={state.at} /></span> : 'Saved'}
        </span>
      );
    case 'unsaved':
    case 'saving':
      return (
        <span className="save-state" role="status">
          <Icon name="spin" size={12} className="turning" /> Saving
        </span>
      );
    case 'failed':
      return (
        <span className="save-state is-bad" role="status" title={state.error.message}>
          <Icon name="alert" size={12} /> Not saved; kept in this browser{' '}
          <button type="button" className="as-link" onClick={retry}>
            Try again
          </button>
        </span>
      );
    case 'overtaken':
      return (
        <span className="save-state is-bad" role="status">
          <Icon name="alert" size={12} /> Changed elsewhere
        </span>
      );
  }
}

/** What is typed and cannot be read is nobody else's yet. */
function Unread() {
  return (
    <span className="save-state is-bad" role="status">
      <Icon name="alert" size={12} /> Not saved until it can be read; kept in this browser
    </span>
  );
}

function Editing({ workflow, draft, types }: { workflow: Workflow; draft: Draft | null; types: readonly ComponentType[] }) {
  const client = useQueryClient();
  const published = textOfDefinition(workflow.definition);
  const onServer = draft ? textOfDefinition(draft.definition) : published;
  const [first] = useState(() => {
    const local = localDraft(workflow.id);
    // Somebody else may have kept another draft since.
    return local ? (merged(local.base, local.text, onServer) ?? local.text) : onServer;
  });
  const document = useDocument(workflow.id, first);
  const text = document.read.text;
  const kept = { revision: draft?.revision ?? 0, text: onServer, at: draft?.updated_at };
  const told = useRef<Pick<ReturnType<typeof useDraft>, 'heard' | 'part'>>(undefined);
  const { session, people, standing, show } = useSession(workflow.id, document.shared, first, kept, {
    saved: (revision, heard) => told.current?.heard(revision, heard),
    apart: () => told.current?.part(),
    read: () => readKept(client, workflow.id),
  });
  const saved = useDraft(workflow.id, document.shared, session, standing, kept);
  told.current = saved;
  const [publishing, setPublishing] = useState<{ revision: number | undefined }>();
  const [executing, setExecuting] = useState(false);
  const hasDraft = saved.revision > 0 || text !== published;
  const noEdit = usePermission('workflow.edit');
  const noExecute = usePermission('workflow.execute');
  const known = useMemo(() => new Types(types), [types]);
  useTitle(workflow.name);

  const discard = useMutation({
    mutationFn: () => answer(api.DELETE('/api/v1/workflows/{id}/draft', { params: { path: { id: workflow.id } } }).then((got) => ({ ...got, data: true }))),
    onSuccess: () => {
      document.put(published, text, 'Discard the draft');
      saved.settle(published, 0);
      client.setQueryData(draftQuery(workflow.id).queryKey, null);
      say('The draft is gone; this is the published version.');
    },
    onError: (error) => sayProblem('The draft was not thrown away', error),
  });

  return (
    <>
      <Designer
        document={document}
        types={known}
        name={workflow.name}
        back={workflow.id}
        note={
          <>
            <span className="tag quiet">{hasDraft ? `draft after version ${workflow.version}` : `version ${workflow.version}`}</span>
            {document.isPending ? <Unread /> : <Saved state={saved.state} standing={standing} retry={saved.retry} />}
            {session && <Presence session={session} people={people} />}
          </>
        }
        people={people}
        onPlace={show}
        banner={
          noEdit !== undefined ? (
            <div className="banner" role="status">
              <Icon name="alert" size={14} />
              <span>You may look at this workflow, and what you draw is not saved. {noEdit}</span>
            </div>
          ) : saved.state.kind === 'overtaken' ? (
            <div className="banner is-failure" role="alert">
              <Icon name="alert" size={14} />
              <span>Somebody kept another draft meanwhile. Yours is safe in this browser.</span>
              <Button
                size="compact-xs"
                variant="default"
                onClick={() =>
                  void client.fetchQuery({ ...draftQuery(workflow.id), staleTime: 0 }).then(
                    (theirs) => {
                      const next = theirs ? textOfDefinition(theirs.definition) : published;
                      document.put(next, text, 'Take the other draft');
                      saved.settle(next, theirs?.revision ?? 0);
                    },
                    (error: unknown) => sayProblem('The other draft was not read', error),
                  )
                }
              >
                Take theirs
              </Button>
              <Button size="compact-xs" variant="default" onClick={saved.overwrite}>
                Keep mine
              </Button>
            </div>
          ) : undefined
        }
        actions={[
          {
            id: 'discard',
            label: 'Throw the draft away',
            icon: 'trash',
            reason: hasDraft ? noEdit : 'There is no draft.',
            run: () => discard.mutate(),
          },
        ]}
        publish={{
          reason: hasDraft ? noEdit : 'It is published as you see it.',
          run: () =>
            void saved.flush().then(
              (revision) => setPublishing({ revision }),
              (error: unknown) => sayProblem('The draft could not be kept, so it was not published', error),
            ),
        }}
        execute={{ label: hasDraft ? `Execute v${workflow.version}` : 'Execute', reason: noExecute, run: () => setExecuting(true) }}
      />
      <PublishDialog
        id={workflow.id}
        opened={publishing !== undefined}
        revision={publishing?.revision}
        close={() => setPublishing(undefined)}
        onPublished={(next) => {
          saved.settle(textOfDefinition(next.definition), 0);
          client.setQueryData(draftQuery(workflow.id).queryKey, null);
          client.setQueryData(workflowQuery(workflow.id).queryKey, next);
          void client.invalidateQueries({ queryKey: ['workflow', workflow.id] });
        }}
      />
      <ExecuteDialog id={workflow.id} name={workflow.name} opened={executing} close={() => setExecuting(false)} />
    </>
  );
}

/** The designer of a workflow that is kept on the server. */
export function EditWorkflow() {
  const { id } = route.useParams();
  const workflow = useQuery(workflowQuery(id));
  const draft = useQuery(draftQuery(id));
  const components = useQuery(componentsQuery);
  const failed = [workflow, draft, components].find((each) => each.isError && each.data === undefined);
  if (failed) return <Failed error={failed.error} retry={() => void failed.refetch()} />;
  if (workflow.data === undefined || draft.data === undefined || components.data === undefined) return <Loading />;
  return <Editing key={id} workflow={workflow.data} draft={draft.data} types={components.data.items} />;
}

function Drawing({ types }: { types: readonly ComponentType[] }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [first] = useState(() => localDraft(NEW)?.text ?? EMPTY);
  const document = useDocument(NEW, first);
  const text = document.read.text;
  const known = useMemo(() => new Types(types), [types]);
  const [isKept, setKept] = useState(true);
  const noCreate = usePermission('workflow.create');
  useTitle('New workflow');

  useEffect(() => {
    if (text === EMPTY) forgetLocal(NEW);
    else setKept(keepLocal(NEW, text, EMPTY));
  }, [text]);

  const create = useMutation({
    mutationFn: () => answer(api.POST('/api/v1/workflows', { body: { definition: text } })),
    onSuccess: (made) => {
      forgetLocal(NEW);
      forgetPending(NEW);
      say('Version 1 is published.');
      void client.invalidateQueries({ queryKey: ['workflows'] });
      void navigate({ to: '/workflows/$id/edit', params: { id: made.id }, replace: true });
    },
    onError: (error) => sayProblem('It was not published', error),
  });

  return (
    <Designer
      document={document}
      types={known}
      name="New workflow"
      note={
        <span className={`save-state${isKept ? '' : ' is-bad'}`} role="status">
          {isKept ? 'Kept in this browser until it is published' : 'This browser keeps nothing more; publish soon'}
        </span>
      }
      actions={[
        {
          id: 'empty',
          label: 'Begin with an empty canvas',
          icon: 'trash',
          reason: text === EMPTY ? 'It is empty.' : undefined,
          run: () => document.put(EMPTY, text, 'Empty the canvas'),
        },
      ]}
      publish={{ reason: noCreate, run: () => create.mutate(), isPending: create.isPending }}
    />
  );
}

/** The designer with an empty canvas. Publishing makes the workflow. */
export function NewWorkflow() {
  const components = useQuery(componentsQuery);
  if (components.isError && components.data === undefined) return <Failed error={components.error} retry={() => void components.refetch()} />;
  if (components.data === undefined) return <Loading />;
  return <Drawing types={components.data.items} />;
}
