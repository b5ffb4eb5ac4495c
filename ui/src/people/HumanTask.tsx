import { Button, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';

import { answer, api, ApiProblem, type HumanTask } from '../api/client';
import { SchemaForm } from '../schema-form/SchemaForm';
import type { JsonSchema } from '../schema-form/schema';
import { check } from '../schema-form/validate';
import { usePermission } from '../sign-in/permission';
import { Choice } from '../ui/Choice';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { Status } from '../ui/Status';
import { Ago, Countdown } from '../ui/Time';

type Verdict = 'approve' | 'reject' | 'submit' | 'claim';

/** What people are asked, with the form to answer it. */
export function HumanTaskCard({ task, showExecution = false }: { task: HumanTask; showExecution?: boolean }) {
  const client = useQueryClient();
  const [comment, setComment] = useState('');
  const [data, setData] = useState<unknown>({});
  const [tried, setTried] = useState(false);
  const [as, setAs] = useState(task.assignees.length === 1 ? task.assignees[0] : undefined);
  const schema = task.form as JsonSchema | null | undefined;
  const mistakes = schema ? check(schema, data) : [];
  const isOpen = task.status === 'open';
  const submits = task.kind === 'human_task';
  const mayClaim = task.needs_claim && !task.claimed_by;
  const mayNotDecideFor = usePermission('approval.decide_for');
  const reason = task.is_mine || mayNotDecideFor === undefined ? undefined : `It is with ${task.assignees.join(', ')}. ${mayNotDecideFor}`;
  const refusal = { disabled: reason !== undefined, 'data-hint': reason };

  const give = useMutation({
    mutationFn: async (verdict: Verdict) => {
      const params = { path: { id: task.id } };
      const whom = as ? { as } : {};
      if (verdict === 'claim') return answer(api.POST('/api/v1/human-tasks/{id}/claim', { params, body: whom }));
      const body = { ...(comment && { comment }), ...(schema && { data: data as never }), ...whom };
      if (verdict === 'submit' && mayClaim) await answer(api.POST('/api/v1/human-tasks/{id}/claim', { params, body: whom }));
      if (verdict === 'submit') return answer(api.POST('/api/v1/human-tasks/{id}/submit', { params, body }));
      return answer(api.POST(verdict === 'approve' ? '/api/v1/human-tasks/{id}/approve' : '/api/v1/human-tasks/{id}/reject', { params, body }));
    },
    onSuccess: (_, verdict) => say({ approve: 'Approved.', reject: 'Rejected.', submit: 'Handed in.', claim: 'It is yours now.' }[verdict]),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ['human-tasks'] });
      void client.invalidateQueries({ queryKey: ['execution', task.execution_id] });
    },
  });
  const refused = give.error instanceof ApiProblem ? give.error : undefined;
  const shown = [
    ...(tried ? mistakes : []),
    ...(refused?.problems ?? []).map(({ path, message }) => ({ path: path[0] === 'data' ? path.slice(1) : path, message })),
  ];
  const decide = (verdict: Verdict) => {
    if (reason !== undefined) return;
    setTried(true);
    if (verdict === 'reject' || verdict === 'claim' || mistakes.length === 0) give.mutate(verdict);
  };

  return (
    <section className="human-task" aria-label={task.title}>
      <header className="human-task-head">
        <Status status={task.status} />
        <h3>{task.title}</h3>
        {task.urgency !== 'normal' && <span className={`tag ${task.urgency === 'high' ? 'bad' : 'quiet'}`}>{task.urgency}</span>}
        <span className="spacer" />
        <span className="dim">
          asked <Ago at={task.created_at} />
          {isOpen && task.expires_at && (
            <>
              {' '}
              · expires <Countdown until={task.expires_at} />
            </>
          )}
        </span>
      </header>
      {task.message && <p className="human-task-message">{task.message}</p>}
      <p className="dim">
        {showExecution && (
          <>
            <Link to="/executions/$id" params={{ id: task.execution_id }} search={{ tab: 'people' }}>
              {task.workflow_name}
            </Link>
            {' · '}
          </>
        )}
        <code>{task.component}</code> · with {task.assignees.join(', ')} · started by {task.requester}
        {task.quorum > 1 && ` · ${task.quorum} approvals needed`}
        {task.claimed_by && ` · taken on by ${task.claimed_by}`}
      </p>
      {task.answers.length > 0 && (
        <ul className="answers">
          {task.answers.map((given, index) => (
            <li key={index}>
              <strong>{given.by}</strong> {given.verdict} for {given.for_assignee}, <Ago at={given.at} />
              {given.comment && <span className="dim"> “{given.comment}”</span>}
            </li>
          ))}
        </ul>
      )}
      {isOpen && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            decide(submits ? 'submit' : 'approve');
          }}
        >
          {schema && <SchemaForm schema={schema} value={data} onChange={(value) => setData(value ?? {})} mistakes={shown} />}
          {task.assignees.length > 1 && (
            <Choice label="Answer for" none="choose an assignee" data={task.assignees} value={as} onChange={setAs} mt={6} />
          )}
          <Textarea
            size="xs"
            mt={6}
            autosize
            minRows={1}
            label="Comment"
            placeholder="kept with the answer"
            value={comment}
            onChange={(event) => setComment(event.currentTarget.value)}
          />
          {give.error && (
            <p className="field-mistake" role="alert">
              <Icon name="alert" size={12} /> {give.error.message}
            </p>
          )}
          <div className="dialog-end">
            {mayClaim && (
              <Button size="xs" variant="default" {...refusal} loading={give.isPending} onClick={() => decide('claim')}>
                Take it on
              </Button>
            )}
            {submits ? (
              <Button size="xs" type="submit" {...refusal} loading={give.isPending}>
                {mayClaim ? 'Take it on and hand in' : 'Hand in'}
              </Button>
            ) : (
              <>
                <Button size="xs" color="red" variant="light" {...refusal} loading={give.isPending} onClick={() => decide('reject')} leftSection={<Icon name="cross" size={12} />}>
                  Reject
                </Button>
                <Button size="xs" type="submit" {...refusal} loading={give.isPending} leftSection={<Icon name="check" size={12} />}>
                  Approve
                </Button>
              </>
            )}
          </div>
        </form>
      )}
    </section>
  );
}
