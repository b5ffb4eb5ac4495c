import { expect, it } from 'vitest';

import { read } from '../model/document';
import { sample, standing, STEPS } from './steps';

const execution = (status: string, workflow_version = 1, retry_of: string | null = null) => ({ id: `${status}-${workflow_version}`, status, workflow_version, retry_of }) as never;

it('the step that is next follows from what the server knows', () => {
  const green = execution('completed');
  const red = execution('failed');
  expect(standing({ version: 1 }, [])).toEqual({ step: 0 });
  expect(standing({ version: 1 }, [green])).toEqual({ step: 0 });
  expect(standing({ version: 1 }, [red, green])).toEqual({ step: 1, failed: 'failed-1' });
  expect(standing({ version: 2 }, [red, green])).toEqual({ step: 2, failed: 'failed-1' });
  // Done again without having been mended, it fails again.
  expect(standing({ version: 1 }, [execution('failed', 1, 'failed-1'), red])).toEqual({ step: 1, failed: 'failed-1' });
  expect(standing({ version: 2 }, [execution('running', 2, 'failed-1'), red])).toMatchObject({ step: 2 });
  expect(standing({ version: 2 }, [execution('completed', 2, 'failed-1'), red, green])).toEqual({ step: STEPS.length });
});

it('the sample can be read, and is named as it is asked to be', () => {
  const { mistake, workflow } = read(sample('first-minute-2'));
  expect(mistake).toBeUndefined();
  expect(workflow.name).toBe('first-minute-2');
  expect([...workflow.components.keys()]).toEqual(['bill', 'share', 'thanks']);
});
