import '../styles/guide.css';

import { CloseButton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';

import { workflowQuery } from '../api/queries';
import { someExecutionsQuery } from '../api/statistics';
import { Icon } from '../ui/Icon';
import { dismiss } from './guided';
import { standing, STEPS } from './steps';

/** Executions that are looked through. */
const MANY = 50;

/** Above every page, while somebody is led through the first minute: the step that is next, and where to do it. */
export default function Guide({ workflow: id }: { workflow: string }) {
  const workflow = useQuery(workflowQuery(id));
  const executions = useQuery(someExecutionsQuery({ workflow: id }, MANY));
  if (!workflow.data || !executions.data) return null;
  const { step, failed } = standing(workflow.data, executions.data.items);
  const designer = (
    <Link to="/workflows/$id/edit" params={{ id }}>
      Open the designer
    </Link>
  );
  const told: ReactNode[] = [
    <>
      It did well, for four. {designer}, press <b>Execute</b>, and share the bill among 0 <b>Guests</b>.
    </>,
    <>
      {designer}, select <b>Share it</b>, and write <code>(parameters.guests or 1)</code> instead of <code>parameters.guests</code> in its <b>Message</b>. Then{' '}
      <b>Publish</b>.
    </>,
    <>
      {failed && (
        <Link to="/executions/$id" params={{ id: failed }}>
          Open what failed
        </Link>
      )}
      , press <b>Retry</b>, and choose the <b>Newest version</b>: what had completed is kept.
    </>,
    <>That was all: what had completed was kept, and only the rest ran. {designer} again, or draw a workflow of your own.</>,
  ];
  return (
    <aside className="guide" aria-label="The first minute">
      <ol>
        {STEPS.map((name, index) => (
          <li key={name} className={index === step ? 'is-now' : index < step ? 'is-done' : undefined} {...(index === step && { 'aria-current': 'step' as const })}>
            {index < step ? <Icon name="check" size={12} /> : <span className="guide-number">{index + 1}</span>} {name}
          </li>
        ))}
      </ol>
      <p role="status">{told[step]}</p>
      <CloseButton size="sm" aria-label="Close the first minute" onClick={dismiss} />
    </aside>
  );
}
