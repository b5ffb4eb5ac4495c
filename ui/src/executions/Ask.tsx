import '../styles/dialog.css';

import { Button, Modal, Textarea } from '@mantine/core';
import { useState } from 'react';

import { Segments } from '../ui/Segments';
import { DEEDS, type Deed } from './deeds';

/** Asks for a reason before something is done to an execution, and which way it is to end. */
export function AskDialog({
  opened,
  asked,
  setAsked,
  isPending,
  close,
  onDo,
}: {
  opened: boolean;
  asked: Deed;
  setAsked: (deed: Deed) => void;
  isPending: boolean;
  close: () => void;
  onDo: (deed: Deed, reason: string) => void;
}) {
  const [reason, setReason] = useState('');
  const { title, text, word } = DEEDS[asked];
  return (
    <Modal opened={opened} onClose={close} onExitTransitionEnd={() => setReason('')} title={title} closeButtonProps={{ 'aria-label': 'Close' }}>
      {asked !== 'pause' && (
        <Segments
          size="xs"
          mb={8}
          aria-label="How it ends"
          data={[
            { value: 'cancel', label: 'Cancel, with clean-up' },
            { value: 'kill', label: 'Kill, at once' },
          ]}
          value={asked}
          onChange={(value) => setAsked(value as Deed)}
        />
      )}
      <p className="dim">{text}</p>
      <Textarea
        label="Reason"
        size="xs"
        placeholder="kept in the journal"
        data-autofocus
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
      <div className="dialog-end">
        <Button size="xs" variant="default" onClick={close}>
          Not now
        </Button>
        <Button size="xs" {...(asked !== 'pause' && { color: 'red' })} loading={isPending} onClick={() => onDo(asked, reason)}>
          {word}
        </Button>
      </div>
    </Modal>
  );
}
