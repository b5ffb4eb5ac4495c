import '../styles/dialog.css';

import { Alert, Button, Modal, TextInput } from '@mantine/core';
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';

import { answer, api } from '../api/client';
import { Choice } from '../ui/Choice';
import { instant } from '../ui/format';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { useNow, useRested } from '../ui/Time';
import { backfillPreviewQuery, type BackfillRange, type Trigger } from './queries';
import { asField, rangeOf } from './range';

/** Fires that are listed in advance. */
const LISTED = 8;
const DAY = 86_400_000;

function Form({ trigger, close }: { trigger: Trigger; close: () => void }) {
  const client = useQueryClient();
  const now = useNow();
  const [first] = useState(() => Date.now());
  const [from, setFrom] = useState(asField(new Date(first - DAY)));
  const [to, setTo] = useState(asField(new Date(first - 60_000)));
  const [order, setOrder] = useState<NonNullable<BackfillRange['order']>>('oldest_first');
  const [parallel, setParallel] = useState('1');
  const [reason, setReason] = useState('');
  const range = rangeOf(useRested(from, 300), useRested(to, 300), now);
  const mistake = 'mistake' in range ? range.mistake : undefined;
  const asked: BackfillRange = 'mistake' in range ? { from: '', to: '', order } : { ...range, order };
  const preview = useQuery({ ...backfillPreviewQuery(trigger.id, asked), enabled: mistake === undefined, placeholderData: keepPreviousData });
  const count = mistake === undefined && !preview.isError ? preview.data?.total : undefined;
  const atOnce = Number(parallel);
  const wrongParallel = Number.isInteger(atOnce) && atOnce >= 1 && atOnce <= 100 ? undefined : '1 to 100';

  const start = useMutation({
    mutationFn: () =>
      answer(api.POST('/api/v1/triggers/{id}/backfills', { params: { path: { id: trigger.id } }, body: { ...asked, parallel: atOnce, reason: reason.trim() } })),
    onSuccess: () => {
      say(`The backfill of ${trigger.name} has begun.`);
      void client.invalidateQueries({ queryKey: ['backfills'] });
      close();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        start.mutate();
      }}
    >
      <p className="dim">Carries out fires of the past that have not started, with low priority and a few at a time.</p>
      <div className="two">
        <TextInput size="xs" type="datetime-local" label="From" value={from} onChange={(event) => setFrom(event.currentTarget.value)} data-autofocus />
        <TextInput size="xs" type="datetime-local" label="To" value={to} onChange={(event) => setTo(event.currentTarget.value)} />
      </div>
      <div className="two">
        <Choice
          label="Order"
          data={[
            { value: 'oldest_first', label: 'Oldest first' },
            { value: 'newest_first', label: 'Newest first' },
          ]}
          value={order}
          onChange={(value) => setOrder(value === 'newest_first' ? value : 'oldest_first')}
        />
        <TextInput size="xs" type="number" label="At once" value={parallel} error={wrongParallel} onChange={(event) => setParallel(event.currentTarget.value)} />
      </div>
      <TextInput size="xs" mt={8} label="Reason" required placeholder="kept with each start" value={reason} onChange={(event) => setReason(event.currentTarget.value)} />
      <div className="backfill-preview" role="status" aria-label="What it would start">
        {mistake ? (
          <span className="field-mistake">{mistake}</span>
        ) : preview.isError ? (
          <span className="field-mistake">{preview.error.message}</span>
        ) : count === undefined ? (
          <span className="dim">Counting…</span>
        ) : (
          <>
            <strong>
              {count === 0 ? 'No fire lies in this range.' : `${count.toLocaleString()} ${count === 1 ? 'fire lies' : 'fires lie'} in this range.`}
            </strong>{' '}
            {count > 0 && <span className="dim">Those that have started already are left alone.</span>}
            <ol>
              {preview.data?.fires.slice(0, LISTED).map((at) => <li key={at}>{instant(at)}</li>)}
            </ol>
            {count > LISTED && <span className="dim">and {(count - LISTED).toLocaleString()} more</span>}
          </>
        )}
      </div>
      {start.error && (
        <Alert color="red" mt="sm" title="It was not begun">
          {start.error.message}
        </Alert>
      )}
      <div className="dialog-end">
        <Button size="xs" variant="default" onClick={close}>
          Not now
        </Button>
        <Button
          size="xs"
          type="submit"
          loading={start.isPending}
          disabled={!count || preview.isPlaceholderData || reason.trim() === '' || wrongParallel !== undefined}
          leftSection={<Icon name="play" size={12} />}
        >
          {count ? `Begin with ${count.toLocaleString()}` : 'Begin'}
        </Button>
      </div>
    </form>
  );
}

/** Asks for a range of the past, says in advance how many fires lie in it, and begins a backfill. */
export function BackfillDialog({ trigger, opened, close }: { trigger: Trigger; opened: boolean; close: () => void }) {
  return (
    <Modal opened={opened} onClose={close} title={`Backfill ${trigger.name}`} size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      <Form trigger={trigger} close={close} />
    </Modal>
  );
}
