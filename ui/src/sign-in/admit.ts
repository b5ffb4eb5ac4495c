import { redirect } from '@tanstack/react-router';

import { queryClient } from '../api/queryClient';
import { OPEN_PAGES } from './places';
import { sessionQuery } from './session';

/** Lets those see a page who are signed in, and sends others to where they can. */
export async function admit({ pathname, publicHref }: { pathname: string; publicHref: string }): Promise<void> {
  const { state } = await queryClient.ensureQueryData(sessionQuery);
  if (state === 'setup' && pathname !== '/setup') throw redirect({ to: '/setup', replace: true });
  if (state === 'signed_out' && !OPEN_PAGES.includes(pathname)) throw redirect({ to: '/login', search: { next: publicHref }, replace: true });
}
