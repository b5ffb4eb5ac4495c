import type { Execution, Workflow } from '../api/client';

/** The sample: two components do well whatever comes, and the one between them fails for no guests. */
export const sample = (name: string): string => `workflow: v1
name: ${name}
description: Adds up a bill and shares it among the guests. Without any, it fails.
labels: { made_by: first_minute }
parameters:
  guests: { type: integer, default: 4, description: Among how many the bill is shared }
components:
  bill:
    type: map
    title: Add up the bill
    config: { rows: [24], expression: item * 2 }
  share:
    type: log
    title: Share it
    needs: [bill]
    config: { message: 'Each pays \${{ components.bill.output.rows[0] / parameters.guests }}' }
  thanks:
    type: noop
    title: Say thanks
    needs: [share]
`;

export const STEPS = ['Break it', 'Mend it', 'Retry from there'] as const;

export interface Standing {
  /** The step to do next, from 0; as many as there are steps when all are done. */
  step: number;
  /** What failed, and is to be done again. */
  failed?: string;
}

/** How far somebody has come, by what the server knows: nothing else keeps it, so it holds in every tab and after a reload. */
export function standing(workflow: Pick<Workflow, 'version'>, executions: readonly Pick<Execution, 'id' | 'status' | 'workflow_version' | 'retry_of'>[]): Standing {
  const failed = executions.find(({ status }) => status === 'failed');
  if (executions.some(({ status, retry_of }) => status === 'completed' && retry_of)) return { step: 3 };
  if (!failed) return { step: 0 };
  return { step: executions.some((each) => each.status === 'failed' && each.workflow_version < workflow.version) ? 2 : 1, failed: failed.id };
}
