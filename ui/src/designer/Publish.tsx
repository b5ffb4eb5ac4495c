import '../styles/dialog.css';

import { Alert, Button, Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';

import { answer, api, ApiProblem, type Difference, type Workflow } from '../api/client';
import { draftQuery, workflowQuery } from '../api/queries';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { Failed, Loading } from '../ui/States';

const show = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value, null, 1));

/** What is different, by meaning, in the order of the document. */
export function Differences({ list }: { list: readonly Difference[] }) {
  if (list.length === 0) return <p className="dim">Nothing that changes what runs: only layout, comments or spelling.</p>;
  return (
    <ul className="differences" aria-label="Differences">
      {list.map((each, index) => (
        <li key={index}>
          <span className={`tag ${each.change === 'removed' ? 'bad' : each.change === 'added' ? '' : 'quiet'}`}>{each.change}</span>
          <span className="dim">{each.subject}</span>
          <span>
            <code>{each.id}</code>
            {each.path && each.path.length > 0 && <span className="dim"> {each.path.join('.')}</span>}
          </span>
          {each.change !== 'added' && each.before !== undefined && each.before !== null && each.subject !== 'connection' && (
            <pre className="was">{show(each.before)}</pre>
          )}
          {each.change !== 'removed' && each.after !== undefined && each.after !== null && each.subject !== 'connection' && (
            <pre className="is">{show(each.after)}</pre>
          )}
        </li>
      ))}
    </ul>
  );
}

function Body({ id, revision, close, onPublished }: { id: string; revision: number; close: () => void; onPublished: (workflow: Workflow) => void }) {
  const client = useQueryClient();
  const draft = useQuery(draftQuery(id));
  const compared = useQuery({
    queryKey: ['compare', id, revision],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/workflows/{id}/compare', { params: { path: { id } }, signal })),
    staleTime: 0,
  });
  const newest = useQuery({ ...workflowQuery(id), staleTime: 0 });
  const publish = useMutation({
    mutationFn: () =>
      answer(
        api.POST('/api/v1/workflows/{id}/publish', {
          params: { path: { id }, header: { 'If-Match': `"${revision}"` } },
          body: draft.data?.behind && newest.data ? { replaces: newest.data.version } : {},
        }),
      ),
    onSuccess: (workflow) => {
      say(`Version ${workflow.version} is published.`);
      void client.invalidateQueries({ queryKey: ['workflows'] });
      onPublished(workflow);
      close();
    },
  });
  if (compared.isPending || draft.isPending) return <Loading rows={4} />;
  if (compared.isError) return <Failed error={compared.error} retry={() => void compared.refetch()} />;
  return (
    <>
      <p>
        New executions will be of this version. What differs from version {compared.data.from}:
      </p>
      <Differences list={compared.data.differences} />
      {draft.data?.behind && (
        <Alert color="yellow" title="Another version was published since this draft was begun">
          Publishing replaces it. What it changed is listed above as a difference.
        </Alert>
      )}
      {draft.data && <p className="dim">Last changed by {draft.data.updated_by}.</p>}
      {publish.error && (
        <Alert color="red" mt="sm" title="It was not published">
          {publish.error.message}
          {publish.error instanceof ApiProblem && publish.error.problems.length > 0 && (
            <ul>
              {publish.error.problems.map((problem, index) => (
                <li key={index}>{problem.message}</li>
              ))}
            </ul>
          )}
        </Alert>
      )}
      <div className="dialog-end">
        <Button size="xs" variant="default" onClick={close}>
          Not now
        </Button>
        <Button size="xs" loading={publish.isPending} onClick={() => publish.mutate()} leftSection={<Icon name="upload" size={13} />} data-autofocus>
          Publish
        </Button>
      </div>
    </>
  );
}

/** Shows what publishing would change, and publishes. */
export function PublishDialog(props: {
  id: string;
  revision: number | undefined;
  opened: boolean;
  close: () => void;
  onPublished: (workflow: Workflow) => void;
}) {
  return (
    <Modal opened={props.opened} onClose={props.close} title="Publish this draft?" size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      {props.revision === undefined ? (
        <p className="dim">There is no draft: the newest version is what you see.</p>
      ) : (
        <Body id={props.id} revision={props.revision} close={props.close} onPublished={props.onPublished} />
      )}
    </Modal>
  );
}
