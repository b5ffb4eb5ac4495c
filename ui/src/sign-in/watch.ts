import { QueryObserver } from '@tanstack/react-query';

import { isSeen } from '../api/attention';
import { queryClient } from '../api/queryClient';
import { say } from '../ui/notify';
import { closeSheet } from './asked';
import { leave } from './deeds';
import { endsIn, warnIn } from './expiry';
import { signedIn } from './guard';
import { nameBefore, readAnew, sessionQuery } from './session';
import { hearTabs } from './tabs';

/** How long is waited at most before the clock is looked at again, in milliseconds: a machine that slept does not count on. */
const LOOK = 30_000;
/** How long the warning stays, in milliseconds. */
const STAYS = 60_000;

async function hear(said: 'in' | 'out'): Promise<void> {
  const before = nameBefore();
  const { state, principal } = await readAnew();
  if (state === 'signed_in') {
    // What somebody else may see was not read yet.
    if (principal?.name !== before) void queryClient.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] });
    closeSheet();
  } else if (said === 'out') await leave();
}

/** Follows the session as long as the pages are open: what other tabs do to it, and when it ends. */
export function watch(): void {
  hearTabs((said) => void hear(said).catch(() => undefined));
  let timer: ReturnType<typeof setTimeout> | undefined;
  let told: string | undefined;
  let asked: string | undefined;
  const plan = (end: string | null | undefined) => {
    clearTimeout(timer);
    if (!end || asked === end) return;
    const [left, toWarning] = [endsIn(end, Date.now()), warnIn(end, Date.now())];
    if (left === undefined && isSeen()) {
      // Nothing else may ask for anything by then, and be refused.
      asked = end;
      void signedIn().catch(() => undefined);
      return;
    }
    if (toWarning === 0 && told !== end) {
      told = end;
      const at = new Date(end).toLocaleTimeString(undefined, { timeStyle: 'short' });
      say(`Your session ends at ${at}. You are asked to sign in again then; what you have begun stays on the page.`, STAYS);
    }
    timer = setTimeout(() => plan(end), Math.min(toWarning || left || LOOK, LOOK));
  };
  new QueryObserver(queryClient, { ...sessionQuery, enabled: false }).subscribe(({ data }) => plan(data?.expires_at));
  plan(queryClient.getQueryData(sessionQuery.queryKey)?.expires_at);
}
