import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';

import { answer, api, ApiProblem } from '../api/client';
import { Icon } from '../ui/Icon';
import { sayProblem } from '../ui/notify';
import { dismiss, lead } from './guided';
import { sample } from './steps';

const keep = (name: string) => answer(api.POST('/api/v1/workflows', { body: { definition: sample(name) } }));

/** Keeps the sample under a name that is free, executes it, and answers with both ids. */
async function begin(): Promise<{ workflow: string; execution: string }> {
  const kept = await keep('first-minute').catch((error: unknown) => {
    if (error instanceof ApiProblem && error.code === 'name_taken') return keep(`first-minute-${crypto.randomUUID().slice(0, 8)}`);
    throw error;
  });
  const { id } = await answer(api.POST('/api/v1/workflows/{id}/execute', { params: { path: { id: kept.id } }, body: {} }));
  return { workflow: kept.id, execution: id };
}

/** On the dashboard of a young installation: a workflow that is made, executed and shown at the press of a button. */
export function Offer({ isEmpty }: { isEmpty: boolean }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const start = useMutation({
    mutationFn: begin,
    onSuccess: ({ workflow, execution }) => {
      lead(workflow);
      void client.invalidateQueries({ queryKey: ['workflows'] });
      void client.invalidateQueries({ queryKey: ['executions'] });
      void navigate({ to: '/executions/$id', params: { id: execution } });
    },
    onError: (error) => sayProblem('The sample was not run', error),
  });
  return (
    <section className="dash-card first-minute" aria-label="The first minute">
      <div>
        <h2>{isEmpty ? 'Nothing was executed yet' : 'The first minute'}</h2>
        <p className="dim">A small workflow is made for you and executed. Then you break it, mend it, and go on from where it failed.</p>
      </div>
      <span className="spacer" />
      <Button size="xs" leftSection={<Icon name="play" size={12} />} loading={start.isPending} onClick={() => start.mutate()}>
        Run the sample
      </Button>
      {isEmpty ? (
        <Button size="xs" variant="default" component={Link} to="/workflows/new">
          Draw the first workflow
        </Button>
      ) : (
        <Button size="xs" variant="default" onClick={dismiss}>
          No, thanks
        </Button>
      )}
    </section>
  );
}
