import { expect, it } from 'vitest';

import type { Attempt, Execution } from '../api/client';
import { dataOf, together } from './lastRead';

it('an execution is read as its expressions saw it, with the last of several attempts', () => {
  const execution = { id: 'execution_1', parameters: { who: 'Ada' }, status: 'failed', workflow_name: 'greet', workflow_version: 2 } as unknown as Execution;
  const attempt = (given: Partial<Attempt>) => ({ attempt: 1, dispatches: 1, status: 'completed', ...given }) as Attempt;
  const data = dataOf(execution, [
    attempt({ component: 'a', status: 'failed', failure: { class: 'timeout', message: 'late' } as never }),
    attempt({ component: 'a', attempt: 2, output: { text: 'hi' } }),
    attempt({ component: 'b', output: null }),
  ]);
  expect(data).toMatchObject({ parameters: { who: 'Ada' }, workflow: { name: 'greet', version: 2 } });
  expect(data['components']).toEqual({ a: { output: { text: 'hi' }, status: 'completed', attempts: 2 }, b: { output: null, status: 'completed', attempts: 1 } });
});

it('what a try left out is known from the execution before it', () => {
  const execution = (id: string) => ({ id, parameters: { of: id }, status: 'completed', workflow_name: 'greet', workflow_version: 2 }) as unknown as Execution;
  const attempt = (component: string, given: Partial<Attempt>) => ({ component, attempt: 1, dispatches: 1, status: 'completed', ...given }) as Attempt;
  const seen = together([
    { execution: execution('try'), attempts: [attempt('a', { output: 'new' }), attempt('b', { status: 'skipped', pinned: true })] },
    { execution: execution('whole'), attempts: [attempt('a', { output: 'old' }), attempt('b', { output: 'kept' })] },
  ]);
  expect(seen?.data).toMatchObject({ parameters: { of: 'try' }, components: { a: { output: 'new' }, b: { output: 'kept' } } });
  expect(seen?.attempts.get('b')?.output).toBe('kept');
  expect(together([])).toBeNull();
});
