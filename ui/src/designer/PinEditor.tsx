import { Button, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';

import type { Attempt } from '../api/client';
import type { Pinned } from '../api/try';
import { fetchOf } from '../sign-in/guard';
import { Choice } from '../ui/Choice';
import { bytes } from '../ui/format';
import { Icon } from '../ui/Icon';
import { say, sayProblem } from '../ui/notify';
import { pinOf, ROOM } from './pins';
import { draftOf, pinOfDraft } from './tries';

/** What an attempt gave, as a pin. What lies apart, because it is large, is fetched. */
export async function fetchPin(attempt: Attempt | undefined): Promise<Pinned | undefined> {
  const pin = pinOf(attempt);
  if (pin !== 'large') return pin;
  const reference = attempt?.output_reference;
  if (!reference) return undefined;
  if (reference.size > ROOM) {
    say(`Its output has ${bytes(reference.size)}; pinned data may take ${bytes(ROOM)}. Pin a part of it by hand.`);
    return undefined;
  }
  const response = await fetchOf(reference.href);
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const text = await response.text();
  const ports = attempt?.ports ?? [];
  try {
    return { output: JSON.parse(text) as unknown, ...(ports.length > 0 && { ports }) };
  } catch {
    return { output: text, ...(ports.length > 0 && { ports }) };
  }
}

/** What stands for a component when something after it is tried: taken from an attempt, or written by hand. */
export function PinEditor({
  id,
  pin,
  ports,
  sources,
  onKeep,
  onRemove,
}: {
  id: string;
  pin: Pinned | undefined;
  /** Its own ports. */
  ports: readonly string[];
  sources: { label: string; attempt: Attempt | undefined; reason: string }[];
  onKeep: (pin: Pinned) => void;
  onRemove: () => void;
}) {
  const [draft, setDraft] = useState(() => draftOf(pin));
  const [isTouched, setTouched] = useState(false);
  const { pin: made, mistake } = pinOfDraft(draft);
  const set = (change: Partial<typeof draft>) => {
    setTouched(true);
    setDraft({ ...draft, ...change });
  };
  const take = (attempt: Attempt | undefined) =>
    void fetchPin(attempt).then(
      (taken) => taken && onKeep(taken),
      (error: unknown) => sayProblem('It was not pinned', error),
    );
  return (
    <form
      className="pin-editor"
      onSubmit={(event) => {
        event.preventDefault();
        setTouched(true);
        if (made) onKeep(made);
      }}
    >
      <p className="dim">
        {pin ? `${id} is pinned: a try does not run it, and takes this instead.` : `${id} is not pinned.`} Pins stay in this browser, and are no part of the document.
      </p>
      <div className="toolbar try-wrap">
        {sources.map(({ label, attempt, reason }) => (
          <Button
            key={label}
            size="compact-xs"
            variant="default"
            leftSection={<Icon name="pin" size={12} />}
            disabled={pinOf(attempt) === undefined}
            title={pinOf(attempt) === undefined ? reason : undefined}
            onClick={() => take(attempt)}
          >
            {label}
          </Button>
        ))}
      </div>
      <Choice
        label="It gives"
        data={[
          { value: 'output', label: 'An output' },
          { value: 'error', label: 'A failure' },
        ]}
        value={draft.kind}
        onChange={(kind) => set({ kind: kind === 'error' ? 'error' : 'output' })}
      />
      {draft.kind === 'output' ? (
        <>
          <Textarea
            size="xs"
            label="Output, as JSON"
            classNames={{ input: 'mono' }}
            autosize
            minRows={3}
            maxRows={14}
            spellCheck={false}
            value={draft.text}
            error={isTouched && mistake}
            onChange={(event) => set({ text: event.currentTarget.value })}
          />
          {ports.length > 0 && (
            <fieldset className="pin-ports">
              <legend>Leaves by</legend>
              {ports.map((port) => (
                <label key={port}>
                  <input
                    type="checkbox"
                    checked={draft.ports.includes(port)}
                    onChange={(event) => set({ ports: event.currentTarget.checked ? [...draft.ports, port] : draft.ports.filter((each) => each !== port) })}
                  />
                  <code>{port}</code>
                </label>
              ))}
            </fieldset>
          )}
        </>
      ) : (
        <div className="two">
          <TextInput size="xs" label="Class" placeholder="timeout" value={draft.class} error={isTouched && mistake} onChange={(event) => set({ class: event.currentTarget.value })} />
          <TextInput size="xs" label="Message" value={draft.message} onChange={(event) => set({ message: event.currentTarget.value })} />
        </div>
      )}
      <div className="toolbar">
        <Button type="submit" size="compact-xs">
          {pin ? 'Keep' : 'Pin'}
        </Button>
        {pin && (
          <Button size="compact-xs" variant="default" onClick={onRemove}>
            Unpin
          </Button>
        )}
      </div>
    </form>
  );
}
