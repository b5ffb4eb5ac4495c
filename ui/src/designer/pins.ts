import { useCallback, useEffect, useMemo, useState } from 'react';

import type { Attempt } from '../api/client';
import type { Pinned } from '../api/try';
import type { Data } from '../model/expressions';
import { bytes } from '../ui/format';
import { say } from '../ui/notify';

/** What stands for components instead of what they would give, by id. */
export type Pins = Readonly<Record<string, Pinned>>;

/** What the pins of one workflow may take in the browser's store, in characters. */
export const ROOM = 262_144;

const NONE: Pins = {};
const key = (workflow: string) => `apg.pins.${workflow}`;
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function pinned(value: unknown): Pinned | undefined {
  if (!isRecord(value)) return undefined;
  const error = value['error'];
  if (isRecord(error)) {
    return typeof error['class'] === 'string' && typeof error['message'] === 'string' ? { error: { class: error['class'], message: error['message'] } } : undefined;
  }
  if (!('output' in value)) return undefined;
  const ports = value['ports'];
  const named = Array.isArray(ports) ? ports.filter((port): port is string => typeof port === 'string') : [];
  return { output: value['output'], ...(named.length > 0 && { ports: named }) };
}

/** Pins as they were kept. What is not ours, or was cut off, is left out. */
export function readPins(text: string | null): Pins {
  try {
    const kept = JSON.parse(text ?? '{}') as unknown;
    if (!isRecord(kept)) return NONE;
    return Object.fromEntries(
      Object.entries(kept).flatMap(([id, value]) => {
        const pin = pinned(value);
        return pin ? [[id, pin]] : [];
      }),
    );
  } catch {
    return NONE;
  }
}

/** What an attempt gave, as a pin; `large` when it has to be fetched first, nothing when it gave nothing yet. */
export function pinOf(attempt: Attempt | undefined): Pinned | 'large' | undefined {
  if (attempt?.status === 'failed' && attempt.failure) return { error: { class: attempt.failure.class, message: attempt.failure.message } };
  if (attempt?.status !== 'completed') return undefined;
  if (attempt.output_reference) return 'large';
  return { output: attempt.output ?? null, ...(attempt.ports && attempt.ports.length > 0 && { ports: attempt.ports }) };
}

/** Pins over what an execution had, as expressions see it. */
export function withPins(data: Data | undefined, pins: Pins): Data | undefined {
  const ids = Object.keys(pins);
  if (ids.length === 0) return data;
  const components: Record<string, unknown> = { ...(data?.['components'] as Record<string, unknown> | undefined) };
  for (const id of ids) {
    const pin = pins[id];
    if (!pin) continue;
    components[id] = pin.error ? { status: 'failed', error: pin.error, attempts: 1 } : { output: pin.output, status: 'completed', attempts: 1 };
  }
  return { parameters: {}, ...data, components };
}

export interface PinsOf {
  pins: Pins;
  /** Keeps a pin; false when there is no room for it, which is said. */
  put: (id: string, pin: Pinned) => boolean;
  remove: (id: string) => void;
  rename: (from: string, to: string) => void;
}

/** The pins of a workflow: kept in this browser, for all its tabs, and never in the document. */
export function usePins(workflow: string | undefined): PinsOf {
  const [pins, setPins] = useState<Pins>(NONE);
  useEffect(() => {
    if (workflow === undefined) return undefined;
    const look = () => setPins(readPins(localStorage.getItem(key(workflow))));
    const onStorage = (event: StorageEvent) => {
      if (event.key === key(workflow) || event.key === null) look();
    };
    look();
    addEventListener('storage', onStorage);
    return () => removeEventListener('storage', onStorage);
  }, [workflow]);

  const keep = useCallback(
    (change: (before: Record<string, Pinned>) => void): boolean => {
      if (workflow === undefined) return false;
      // As it is kept now: another tab may have pinned something in this moment.
      const next = { ...readPins(localStorage.getItem(key(workflow))) };
      change(next);
      const text = JSON.stringify(next);
      if (text.length > ROOM) {
        say(`Pinned data may take ${bytes(ROOM)} for a workflow; this would be ${bytes(text.length)}. Unpin something, or pin less of it.`);
        return false;
      }
      try {
        if (Object.keys(next).length === 0) localStorage.removeItem(key(workflow));
        else localStorage.setItem(key(workflow), text);
      } catch {
        say('This browser has no room left for pinned data.');
        return false;
      }
      setPins(next);
      return true;
    },
    [workflow],
  );
  return useMemo(
    () => ({
      pins,
      put: (id, pin) => keep((all) => void (all[id] = pin)),
      remove: (id) => void keep((all) => void delete all[id]),
      rename: (from, to) => {
        const pin = pins[from];
        if (!pin) return;
        keep((all) => {
          delete all[from];
          all[to] = pin;
        });
      },
    }),
    [pins, keep],
  );
}
