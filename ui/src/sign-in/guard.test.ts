import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { queryClient } from '../api/queryClient';
import { closeSheet, whileAsked } from './asked';
import { guarded } from './guard';
import { adopt, type Session } from './session';

const ORIGIN = 'http://apg.test';
const signedIn = (csrf: string): Session => ({
  state: 'signed_in',
  principal: { name: 'ada', roles: ['owner'], permissions: [] },
  csrf,
  expires_at: null,
  idle_seconds: 1_800,
});
const SIGNED_OUT: Session = { state: 'signed_out', principal: null, csrf: null, expires_at: null, idle_seconds: 1_800 };

/** What the server knows, and what it was asked. */
let server: { session: Session; accepts: string };
let asked: { method: string; path: string; token: string | null; body: string }[];

const json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });

async function serve(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  const token = request.headers.get('X-CSRF-Token');
  asked.push({ method: request.method, path: pathname, token, body: await request.text() });
  if (pathname === '/api/v1/auth/session') return json(200, server.session);
  if (server.session.state !== 'signed_in') return json(401, { code: 'unauthorized', detail: 'Sign in.' });
  if (request.method !== 'GET' && token !== server.accepts) return json(403, { code: 'csrf_token_wrong', detail: 'Another token.' });
  return json(200, { ok: true });
}

const post = () => new Request(`${ORIGIN}/api/v1/workflows`, { method: 'POST', body: '{"definition":"x"}', headers: { 'Content-Type': 'application/json' } });
const get = () => new Request(`${ORIGIN}/api/v1/workflows`);
/** Requests to the API, without those for the session. */
const sent = () => asked.filter(({ path }) => path === '/api/v1/workflows');
const sheetOpens = () => vi.waitFor(() => expect(whileAsked()).toBeDefined());
const signInAs = (csrf: string) => {
  server = { session: signedIn(csrf), accepts: csrf };
  adopt(server.session);
  closeSheet();
};

beforeEach(() => {
  asked = [];
  server = { session: signedIn('one'), accepts: 'one' };
  vi.stubGlobal('location', { origin: ORIGIN });
  vi.stubGlobal('fetch', serve);
  adopt(signedIn('one'));
});
afterEach(() => {
  closeSheet();
  queryClient.clear();
  vi.unstubAllGlobals();
});

it('whatever changes something carries the token of the session, and what reads does not', async () => {
  expect((await guarded(post())).status).toBe(200);
  expect((await guarded(get())).status).toBe(200);
  expect(sent().map(({ method, token }) => [method, token])).toEqual([
    ['POST', 'one'],
    ['GET', null],
  ]);
});

it('a request with an old token is sent once more with the new one', async () => {
  server = { session: signedIn('two'), accepts: 'two' };
  expect((await guarded(post())).status).toBe(200);
  expect(sent().map(({ token, body }) => [token, body])).toEqual([
    ['one', '{"definition":"x"}'],
    ['two', '{"definition":"x"}'],
  ]);
});

it('a token that stays wrong is not tried without end', async () => {
  server.accepts = 'never';
  expect((await guarded(post())).status).toBe(403);
  expect(sent()).toHaveLength(2);
});

it('what is refused because the session has ended waits for the next one, and is sent again with its body', async () => {
  server.session = SIGNED_OUT;
  const answer = guarded(post());
  await sheetOpens();
  signInAs('two');
  expect((await answer).status).toBe(200);
  expect(sent().map(({ token, body }) => [token, body])).toEqual([
    ['one', '{"definition":"x"}'],
    ['two', '{"definition":"x"}'],
  ]);
});

it('the server is left alone while somebody is asked to sign in', async () => {
  server.session = SIGNED_OUT;
  const first = guarded(get());
  await sheetOpens();
  const others = [guarded(get()), guarded(post())];
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(sent()).toHaveLength(1);
  signInAs('two');
  for (const each of [first, ...others]) expect((await each).status).toBe(200);
  expect(sent()).toHaveLength(4);
});

it('who has signed in meanwhile in another tab is not asked', async () => {
  let isFirst = true;
  vi.stubGlobal('fetch', (request: Request) => {
    const refuse = isFirst && new URL(request.url).pathname === '/api/v1/workflows';
    if (refuse) isFirst = false;
    return refuse ? Promise.resolve(json(401, { code: 'unauthorized', detail: 'Sign in.' })) : serve(request);
  });
  server = { session: signedIn('two'), accepts: 'two' };
  expect((await guarded(post())).status).toBe(200);
  expect(whileAsked()).toBeUndefined();
});

it('a second refusal is what the page hears, and other refusals are left as they are', async () => {
  server.session = SIGNED_OUT;
  const answer = guarded(get());
  await sheetOpens();
  closeSheet();
  expect((await answer).status).toBe(401);
  expect(whileAsked()).toBeUndefined();

  vi.stubGlobal('fetch', () => Promise.resolve(json(401, { code: 'sign_in_refused', detail: 'Wrong.' })));
  const refused = await guarded(post());
  expect(await refused.json()).toMatchObject({ code: 'sign_in_refused' });
  expect(whileAsked()).toBeUndefined();
});
