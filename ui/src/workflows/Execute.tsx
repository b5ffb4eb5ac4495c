import '../styles/dialog.css';

import { Alert, Button, Modal, TextInput } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import { answer, api, ApiProblem } from '../api/client';
import { workflowQuery } from '../api/queries';
import { SchemaForm } from '../schema-form/SchemaForm';
import { check } from '../schema-form/validate';
import { Choice } from '../ui/Choice';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { Failed, Loading } from '../ui/States';
import { schemaOf } from './parameters';

function Form({ id, close }: { id: string; close: () => void }) {
  const workflow = useQuery(workflowQuery(id));
  const navigate = useNavigate();
  const client = useQueryClient();
  const [parameters, setParameters] = useState<Record<string, unknown>>({});
  const [priority, setPriority] = useState('normal');
  const [tags, setTags] = useState('');
  const [tried, setTried] = useState(false);

  const start = useMutation({
    mutationFn: () =>
      answer(
        api.POST('/api/v1/workflows/{id}/execute', {
          params: { path: { id } },
          body: {
            // The generated type of an object with any fields admits none.
            parameters: parameters as never,
            priority,
            tags: tags
              .split(',')
              .map((tag) => tag.trim())
              .filter(Boolean),
          },
        }),
      ),
    onSuccess: (submission) => {
      say('The execution was accepted.');
      close();
      void client.invalidateQueries({ queryKey: ['executions'] });
      void navigate({ to: '/executions/$id', params: { id: submission.id } });
    },
  });

  if (workflow.isPending) return <Loading rows={4} />;
  if (workflow.isError) return <Failed error={workflow.error} retry={() => void workflow.refetch()} />;
  const schema = schemaOf(workflow.data.parameters ?? []);
  const mistakes = check(schema, parameters);
  const refused = start.error;
  const shown = [
    ...(tried ? mistakes : []),
    ...(refused instanceof ApiProblem ? refused.problems.map(({ path, message }) => ({ path: path.filter((part) => part !== 'parameters'), message })) : []),
  ];
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        if (mistakes.length === 0) start.mutate();
      }}
    >
      {Object.keys(schema.properties ?? {}).length === 0 ? (
        <p className="dim">This workflow takes no parameters.</p>
      ) : (
        <SchemaForm
          schema={schema}
          value={parameters}
          onChange={(value) => setParameters(value as Record<string, unknown>)}
          mistakes={shown}
        />
      )}
      <div className="two">
        <Choice label="Priority" data={['high', 'normal', 'low']} value={priority} onChange={(value) => setPriority(value ?? 'normal')} />
        <TextInput size="xs" label="Tags" placeholder="with commas between" value={tags} onChange={(event) => setTags(event.currentTarget.value)} />
      </div>
      {refused && (
        <Alert color="red" mt="sm" title="It was not accepted">
          {refused.message}
        </Alert>
      )}
      <div className="dialog-end">
        <Button variant="default" size="xs" onClick={close}>
          Not now
        </Button>
        <Button type="submit" size="xs" loading={start.isPending} leftSection={<Icon name="play" size={12} />}>
          Execute version {workflow.data.version}
        </Button>
      </div>
    </form>
  );
}

/** Asks for the parameters of a workflow, and executes it. */
export function ExecuteDialog({ id, name, opened, close }: { id: string; name: string; opened: boolean; close: () => void }) {
  return (
    <Modal opened={opened} onClose={close} title={`Execute ${name}`} size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      <Form id={id} close={close} />
    </Modal>
  );
}
