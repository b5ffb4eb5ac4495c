import { useSyncExternalStore } from 'react';

import { ApiProblem } from '../api/client';

/** A short word to whoever looks at the page; it goes by itself. */
export interface Notice {
  number: number;
  title: string | undefined;
  message: string;
  isProblem: boolean;
  /** How long it stays, in milliseconds. */
  stays: number;
}

/** Notices that are shown at once; the oldest makes room. */
const MOST = 4;

let notices: readonly Notice[] = [];
let last = 0;
const listeners = new Set<() => void>();

function change(next: readonly Notice[]): void {
  notices = next;
  for (const listener of listeners) listener();
}

function show(notice: Omit<Notice, 'number'>): void {
  last += 1;
  change([...notices, { ...notice, number: last }].slice(-MOST));
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** What is being said now, the oldest first. */
export function useNotices(): readonly Notice[] {
  return useSyncExternalStore(subscribe, () => notices);
}

export function dismiss(number: number): void {
  change(notices.filter((each) => each.number !== number));
}

/** Says what went wrong, with the request's id. */
export function sayProblem(title: string, error: unknown): void {
  const problem = error instanceof ApiProblem ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  show({ title, message: problem?.traceId ? `${message} (request ${problem.traceId})` : message, isProblem: true, stays: 10_000 });
}

export function say(message: string, stays = 4_000): void {
  show({ title: undefined, message, isProblem: false, stays });
}
