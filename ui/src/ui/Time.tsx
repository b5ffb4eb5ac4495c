import { useEffect, useState, useSyncExternalStore } from 'react';

import { ago, duration, instant } from './format';

let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time, once a second, from one timer for the whole page. */
export function useNow(): number {
  const [first] = useState(() => Date.now());
  const shared = useSyncExternalStore(subscribe, () => now);
  return Math.max(first, shared);
}

/** How long ago an instant is; the whole of it on hover. */
export function Ago({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={instant(at)}>
      {ago(at, now)}
    </time>
  );
}

/** A duration, counting on while it has no end. */
export function Took({ from, to }: { from?: string | null | undefined; to?: string | null | undefined }) {
  const now = useNow();
  if (!from) return <span className="dim">–</span>;
  return <span className="num">{duration((to ? Date.parse(to) : now) - Date.parse(from))}</span>;
}

/** Seconds until an instant, counting down. */
export function Countdown({ until }: { until: string }) {
  const now = useNow();
  const left = Date.parse(until) - now;
  return <span className="num">{left > 0 ? `in ${duration(left)}` : 'now'}</span>;
}

/** A value that follows another after it has rested for `ms`. */
export function useRested<T>(value: T, ms: number): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return rested;
}
