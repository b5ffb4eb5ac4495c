import { queryOptions } from '@tanstack/react-query';

import { ApiProblem, asProblem } from '../api/problem';
import { queryClient } from '../api/queryClient';
import type { components } from '../generated/api';

/** What may be allowed to somebody, as far as these pages ask. */
export type Permission = 'workflow.create' | 'workflow.edit' | 'workflow.execute' | 'approval.decide_for' | 'admin.system';

/** Whether somebody is signed in in this browser, and what they may do. */
export type Session = components['schemas']['Session'];

const isRead = (method: string) => method === 'GET' || method === 'HEAD';

/** The `code` of a refusal of which there is something to do here. */
export async function refusalOf(response: Response): Promise<string | undefined> {
  if (response.status !== 401 && response.status !== 403) return undefined;
  const body: unknown = await response.clone().json().catch(() => undefined);
  return typeof body === 'object' && body !== null && 'code' in body ? String(body.code) : undefined;
}

function withToken(request: Request): Request {
  const { csrf } = current() ?? {};
  if (csrf && !isRead(request.method)) request.headers.set('X-CSRF-Token', csrf);
  return request;
}

/** Sends a request with the token of the session; once more when that was an old one. The request stays unused. */
export async function send(request: Request): Promise<Response> {
  const first = await fetch(withToken(request.clone()));
  if ((await refusalOf(first)) !== 'csrf_token_wrong') return first;
  await readAnew();
  return fetch(withToken(request.clone()));
}

/** Asks about signing in, which the guard of every other request must not wait for. */
export async function ask<T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object, by: (request: Request) => Promise<Response> = send): Promise<T> {
  const response = await by(
    new Request(new URL(`/api/v1/${path}`, location.origin), {
      method,
      ...(body && { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
    }),
  ).catch(() => {
    throw new ApiProblem(0, 'unreachable', 'The server does not answer. Is it running?');
  });
  const text = await response.text();
  const read = (): unknown => {
    try {
      return text === '' ? undefined : JSON.parse(text);
    } catch {
      return undefined; // Not ours, such as the page of a proxy.
    }
  };
  if (!response.ok) throw asProblem(response, read());
  return read() as T;
}

let lastName = '';
/** Who was signed in here last, also when the session has ended since. */
export const nameBefore = (): string => lastName;

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async () => {
    const session = await ask<Session>('GET', 'auth/session', undefined, fetch);
    lastName = session.principal?.name ?? lastName;
    return session;
  },
  // Requests that are refused and other tabs say when it is another one.
  staleTime: Infinity,
  gcTime: Infinity,
});

/** The session as it is known here. */
export const current = (): Session | undefined => queryClient.getQueryData(sessionQuery.queryKey);

export const readAnew = (): Promise<Session> => queryClient.fetchQuery({ ...sessionQuery, staleTime: 0 });

/** Takes over the session that the server has just begun. */
export function adopt(session: Session): void {
  lastName = session.principal?.name ?? lastName;
  queryClient.setQueryData(sessionQuery.queryKey, session);
}
