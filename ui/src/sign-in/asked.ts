import { useSyncExternalStore } from 'react';

/** The sign-in sheet, while it is open: what waits for it goes on when it is answered. */
let open: { answered: Promise<void>; close: () => void } | undefined;
const listeners = new Set<() => void>();

function change(next: typeof open): void {
  open = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Opens the sheet over the page, and waits until it closes. */
export function askToSignIn(): Promise<void> {
  if (!open) {
    let close = () => {};
    const answered = new Promise<void>((resolve) => (close = resolve));
    change({ answered, close });
  }
  return open?.answered ?? Promise.resolve();
}

/** Waits for the sheet, if it is open. */
export const whileAsked = (): Promise<void> | undefined => open?.answered;

/** Closes the sheet: somebody is signed in, or it cannot be shown. */
export function closeSheet(): void {
  const before = open;
  change(undefined);
  before?.close();
}

export const useIsAsked = (): boolean => useSyncExternalStore(subscribe, () => open !== undefined);
