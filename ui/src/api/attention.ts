// Who looks at the page decides how much it asks for. Nothing else here or elsewhere may poll beside this rule.
//
// attended: somebody touched the page within the last minute. Everything is asked for as often as it says.
// left:     it is in sight, and nobody touches it. Only what it is about is asked for, one thing at a time.
// hidden:   nobody sees it, and it asks for nothing.
//
// A touch of a page that was left, and the first sight of one that was hidden, ask for everything that is old by then. Live
// streams do not poll; they go on all the time.
import { focusManager, hashKey, type QueryClient, type QueryKey } from '@tanstack/react-query';
import { useEffect } from 'react';

/** How long after the last touch a page counts as left, in milliseconds. */
export const LEFT_AFTER = 60_000;
/** How often a page that was left asks for one thing, in milliseconds: a little more than a minute, so that none has two. */
export const BEAT = 61_000;

/** Whether somebody is there. Intervals and retries of queries go by the same word. */
export const isAttended = (): boolean => focusManager.isFocused();

/** Calls back whenever somebody comes back to the page. */
export const onReturn = (back: () => void): (() => void) =>
  focusManager.subscribe((isThere) => {
    if (isThere) back();
  });

/** Whether the page is in sight, attended or not. */
export const isSeen = (): boolean => document.visibilityState !== 'hidden';

/** What the pages that are shown are about, as hashes of keys; each entry belongs to one place that shows it. */
const about = new Set<{ hash: string }>();

export function beAbout(hash: string): () => void {
  const own = { hash };
  about.add(own);
  return () => {
    about.delete(own);
  };
}

/** Says that a page is about a query: it is asked for in turn while the page is left. */
export function useAbout(queryKey: QueryKey, isSo = true): void {
  const hash = hashKey(queryKey);
  useEffect(() => (isSo ? beAbout(hash) : undefined), [hash, isSo]);
}

/** Asks for what the page is about, what was not asked for the longest. */
function askForOne(client: QueryClient): void {
  const [oldest] = [...about]
    .flatMap(({ hash }) => client.getQueryCache().get(hash) ?? [])
    .filter((query) => query.isActive())
    // A list of which several pages are open would ask for each of them, and its rows would move under the reader.
    .filter(({ state }) => ((state.data as { pages?: unknown[] } | undefined)?.pages?.length ?? 1) <= 1)
    .sort((a, b) => lastOf(a.state) - lastOf(b.state));
  if (oldest) void client.refetchQueries({ queryKey: oldest.queryKey, exact: true });
}
const lastOf = (state: { dataUpdatedAt: number; errorUpdatedAt: number }) => Math.max(state.dataUpdatedAt, state.errorUpdatedAt);

/** Follows what somebody does with the page, from when it was opened: that counts as a touch. */
export function attend(client: QueryClient): void {
  focusManager.setEventListener((setAttended) => {
    let touched = Date.now();
    let pointer = '';
    let timer: ReturnType<typeof setTimeout> | undefined;

    const beat = () => {
      timer = setTimeout(beat, BEAT);
      askForOne(client);
    };
    const look = () => {
      clearTimeout(timer);
      const left = touched + LEFT_AFTER - Date.now();
      if (isSeen()) timer = left > 0 ? setTimeout(look, left) : setTimeout(beat, BEAT);
      setAttended(isSeen() && left > 0);
    };
    const touch = (event: Event) => {
      if (event.type === 'pointermove') {
        // Browsers tell of a pointer that rests when what is below it moves.
        const { screenX, screenY } = event as PointerEvent;
        const at = `${screenX},${screenY}`;
        if (at === pointer) return;
        pointer = at;
      }
      touched = Date.now();
      if (!isAttended()) look();
    };
    const change = () => {
      if (isSeen()) touched = Date.now();
      look();
    };

    const passive = { capture: true, passive: true };
    const touches = ['pointerdown', 'pointermove', 'wheel', 'keydown'];
    for (const each of touches) addEventListener(each, touch, passive);
    // Of the window itself: elements get the focus from scripts, too.
    addEventListener('focus', touch);
    addEventListener('visibilitychange', change);
    look();
    return () => {
      clearTimeout(timer);
      for (const each of touches) removeEventListener(each, touch, passive);
      removeEventListener('focus', touch);
      removeEventListener('visibilitychange', change);
    };
  });
}
