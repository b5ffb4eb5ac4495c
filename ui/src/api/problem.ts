import type { components } from '../generated/api';

type Schemas = components['schemas'];

/** What the server refused, or that it could not be reached. */
export class ApiProblem extends Error {
  constructor(
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    /** The stable code, such as `stale_version`. */
    readonly code: string,
    message: string,
    readonly traceId?: string,
    readonly problems: Schemas['Mistake'][] = [],
  ) {
    super(message);
    this.name = 'ApiProblem';
  }

  /** Whether asking again, unchanged, may help. */
  get isRetryable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** A refusal, with what the server said about it. */
export function asProblem(response: Response, body: unknown): ApiProblem {
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
