import { ApiProblem } from '../api/problem';
import type { components } from '../generated/api';
import { router } from '../router';
import { closeSheet } from './asked';
import { guarded } from './guard';
import { OPEN_PAGES } from './places';
import { adopt, ask, current, type Session } from './session';
import { tellTabs } from './tabs';

type Schemas = components['schemas'];
export type OwnSession = Schemas['OwnSession'];

function begun(session: Session): Session {
  adopt(session);
  closeSheet();
  tellTabs('in');
  return session;
}

export const signIn = async (name: string, password: string): Promise<Session> => begun(await ask('POST', 'auth/login', { name, password } satisfies Schemas['SignInAs']));

/** Makes whoever has the owner link the owner. */
export const setUp = async (token: string, name: string, password: string): Promise<Session> => begun(await ask('POST', 'setup', { token, name, password } satisfies Schemas['Setup']));

export const ownSessions = (): Promise<Schemas['OwnSessionList']> => ask('GET', 'me/sessions', undefined, guarded);

export const endSession = (id: string): Promise<void> => ask('DELETE', `me/sessions/${encodeURIComponent(id)}`, undefined, guarded);

export const changePassword = async (old: string, next: string): Promise<Session> => begun(await ask('POST', 'me/password', { old, new: next } satisfies Schemas['NewPassword'], guarded));

/** Leaves every page: rooms are closed with them, and what was read is forgotten when the sign-in page is there. */
export async function leave(): Promise<void> {
  const { pathname, publicHref } = router.state.location;
  if (OPEN_PAGES.includes(pathname)) return;
  adopt({ state: 'signed_out', principal: null, csrf: null, expires_at: null, idle_seconds: current()?.idle_seconds ?? 0 });
  closeSheet();
  await router.navigate({ to: '/login', search: { next: publicHref } });
}

export async function signOut(): Promise<void> {
  try {
    await ask('POST', 'auth/logout');
  } catch (error) {
    // A session that has ended needs no end.
    if (!(error instanceof ApiProblem && error.status === 401)) throw error;
  }
  tellTabs('out');
  await leave();
}
