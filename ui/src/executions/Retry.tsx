import '../styles/dialog.css';

import { Alert, Button, Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import { answer, api, ApiProblem, type Execution } from '../api/client';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { Segments } from '../ui/Segments';
import { Loading } from '../ui/States';

/** What is to run again. A component may be called `failed` or `whole` as well. */
export type From = 'failed' | 'whole' | { component: string };

function Plan({ execution, from: given, close }: { execution: Execution; from: From; close: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const component = typeof given === 'string' ? undefined : given.component;
  const [from, setFrom] = useState<'failed' | 'component' | 'whole'>(typeof given === 'string' ? given : 'component');
  const [version, setVersion] = useState<'same' | 'newest'>('same');
  // One for what this dialog says: sent twice, it starts one execution.
  const [key] = useState(() => crypto.randomUUID());
  const body = {
    // A list of one, which is never taken for a word.
    from: from === 'component' && component ? [component] : from,
    version,
  };
  const post = (dry_run: boolean) =>
    answer(
      api.POST('/api/v1/executions/{id}/retry', {
        params: { path: { id: execution.id }, ...(dry_run ? {} : { header: { 'Idempotency-Key': `${key}/${from}/${version}` } }) },
        body: { ...body, dry_run },
      }),
    );
  const plan = useQuery({
    queryKey: ['execution', execution.id, 'retry', body],
    queryFn: () => post(true),
    retry: (count, error) => count < 2 && error instanceof ApiProblem && error.isRetryable,
  });
  const start = useMutation({
    mutationFn: () => post(false),
    onSuccess: (retried) => {
      say('It is done again, as an execution of its own.');
      close();
      void client.invalidateQueries({ queryKey: ['execution', execution.id] });
      if (retried.id) void navigate({ to: '/executions/$id', params: { id: retried.id } });
    },
  });
  const problem = start.error ?? plan.error;
  const choices = [
    ...(execution.status === 'completed' ? [] : [{ value: 'failed', label: 'What failed' }]),
    ...(component ? [{ value: 'component', label: `From ${component}` }] : []),
    { value: 'whole', label: 'Everything' },
  ];
  return (
    <>
      <p className="dim">This execution stays as it is. A new one begins with what is kept, and runs the rest.</p>
      <div className="retry-choices">
        <Segments
          size="xs"
          aria-label="What runs again"
          data={choices}
          value={from}
          onChange={(value) => {
            start.reset();
            setFrom(value as typeof from);
          }}
        />
        <Segments
          size="xs"
          aria-label="Which version runs"
          data={[
            { value: 'same', label: `Version ${execution.workflow_version}` },
            { value: 'newest', label: 'Newest version' },
          ]}
          value={version}
          onChange={(value) => {
            start.reset();
            setVersion(value as typeof version);
          }}
        />
      </div>
      {problem ? (
        <Alert color="red" icon={<Icon name="alert" size={16} />} title="It is not done again like this">
          {problem.message}
        </Alert>
      ) : plan.isPending ? (
        <Loading rows={4} />
      ) : (
        <ul className="retry-plan" aria-label="What becomes of each component">
          {plan.data?.components.map((each) => (
            <li key={each.component} className={each.kept ? 'is-kept' : 'is-again'}>
              <Icon name={each.kept ? 'check' : 'retry'} size={13} />
              <code>{each.component}</code>
              <span className="dim">{each.sentence}</span>
            </li>
          ))}
        </ul>
      )}
      <div className="dialog-end">
        <Button size="xs" variant="default" onClick={close}>
          Not now
        </Button>
        <Button size="xs" disabled={!plan.data} loading={start.isPending} onClick={() => start.mutate()}>
          Retry
        </Button>
      </div>
    </>
  );
}

/** Asks how an execution that has ended is to be done again, and shows first what that means. */
export function RetryDialog({ execution, from, opened, close }: { execution: Execution; from: From | undefined; opened: boolean; close: () => void }) {
  return (
    <Modal opened={opened} onClose={close} title="Do it again" size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      {from !== undefined && <Plan execution={execution} from={from} close={close} />}
    </Modal>
  );
}
