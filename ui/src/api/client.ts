import createClient from 'openapi-fetch';

import type { components, paths } from '../generated/api';

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

export const api = createClient<paths>({ baseUrl: '/' });

/** What the server refused, or that it could not be reached. */
export class ApiProblem extends Error {
  constructor(
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    /** The stable code, such as `stale_version`. */
    readonly code: string,
    message: string,
    readonly traceId?: string,
    readonly problems: Mistake[] = [],
  ) {
    super(message);
    this.name = 'ApiProblem';
  }

  /** Whether asking again, unchanged, may help. */
  get isRetryable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

function asProblem(response: Response, body: unknown): ApiProblem {
  if (typeof body === 'object' && body !== null && 'code' in body) {
    const problem = body as Schemas['Problem'];
    return new ApiProblem(response.status, problem.code, problem.detail, problem.trace_id, problem.problems ?? []);
  }
  return new ApiProblem(
    response.status,
    'unreadable',
    `The server answered ${response.status} without saying why.`,
    response.headers.get('x-request-id') ?? undefined,
  );
}

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
