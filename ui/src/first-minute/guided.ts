import { useSyncExternalStore } from 'react';

/** In this browser: the workflow through which somebody is led, or that they want no more of it. */
const KEY = 'apg.first-minute';
const SEEN = 'seen';
const listeners = new Set<() => void>();

function read(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return SEEN;
  }
}

function write(value: string): void {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Then nobody is led.
  }
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener('storage', listener);
  return () => {
    listeners.delete(listener);
    removeEventListener('storage', listener);
  };
}

export const lead = (workflow: string): void => write(workflow);
export const dismiss = (): void => write(SEEN);

/** Through which workflow somebody is led here, if they are; and whether it may be offered. */
export function useGuided(): { workflow: string | undefined; isNew: boolean } {
  const value = useSyncExternalStore(subscribe, read);
  return { workflow: value === null || value === SEEN ? undefined : value, isNew: value === null };
}
