import createClient from 'openapi-fetch';

import type { components, paths } from '../generated/api';
import { guarded } from '../sign-in/guard';
import { ApiProblem, asProblem } from './problem';

export { ApiProblem };

export type Schemas = components['schemas'];
export type Execution = Schemas['Execution'];
export type Workflow = Schemas['Workflow'];
export type Attempt = Schemas['AttemptView'];
export type Progress = Schemas['Progress'];
export type ComponentType = Schemas['ComponentType'];
export type Mistake = Schemas['Mistake'];
export type LogEntry = Schemas['LogEntry'];
export type HumanTask = Schemas['HumanTask'];
export type Draft = Schemas['Draft'];
export type Difference = Schemas['Difference'];
export type Waiting = Schemas['Waiting'];

export const api = createClient<paths>({ baseUrl: '/', fetch: guarded });

/** The data of an answer; a refusal is thrown as [ApiProblem]. */
export async function answer<T>(
  asked: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<NonNullable<T>> {
  let outcome: { data?: T; error?: unknown; response: Response };
  try {
    outcome = await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiProblem(0, 'unreachable', 'The server does not answer. Is it running?');
  }
  if (outcome.error !== undefined || !outcome.response.ok) throw asProblem(outcome.response, outcome.error);
  return outcome.data as NonNullable<T>;
}
