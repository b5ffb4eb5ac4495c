import { useEffect, useId, useMemo, useSyncExternalStore } from 'react';

import type { IconName } from './Icon';

/** An action of the page at hand, as Ctrl-K offers it. */
export interface Command {
  id: string;
  label: string;
  icon: IconName;
  /** The keys that do the same, for show. */
  keys?: string | undefined;
  /** Why it cannot be done now; absent when it can. */
  reason?: string | undefined;
  run: () => void;
}

const offered = new Map<string, Command[]>();
let all: Command[] = [];
const listeners = new Set<() => void>();

function changed() {
  all = [...offered.values()].flat();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Every action that is offered now. */
export function useCommands(): Command[] {
  return useSyncExternalStore(subscribe, () => all);
}

/** Offers actions as long as the part of the page that has them is there. */
export function useOffer(commands: Command[]): void {
  const owner = useId();
  const kept = useMemo(() => ({ current: commands }), []); // eslint-disable-line react-hooks/exhaustive-deps -- one box for all renders
  useEffect(() => {
    kept.current = commands;
    offered.set(
      owner,
      commands.map((command) => ({
        ...command,
        run: () => kept.current.find((each) => each.id === command.id)?.run(),
      })),
    );
  });
  const shown = commands.map(({ id, label, reason }) => `${id}|${label}|${reason ?? ''}`).join('\n');
  useEffect(changed, [shown]);
  useEffect(
    () => () => {
      offered.delete(owner);
      changed();
    },
    [owner],
  );
}
