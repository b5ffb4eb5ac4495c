import '../styles/dialog.css';
import '../styles/sign-in.css';

import { Modal } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';

import { LoginForm } from './LoginForm';
import { nameBefore, sessionQuery } from './session';

/** Over a page whose session has ended. The page stays as it is, with everything that was typed into it. */
export function Sheet({ opened, close }: { opened: boolean; close: () => void }) {
  const client = useQueryClient();
  return (
    <Modal
      opened={opened}
      onClose={close}
      closeOnEscape={false}
      closeOnClickOutside={false}
      withCloseButton={false}
      title="Sign in again"
      // Over other dialogs, which stay open.
      zIndex={350}
      // Keys that are for the form are not for the page below.
      onKeyDown={(event) => event.stopPropagation()}
    >
      <Content onDone={(isOther) => isOther && void client.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] })} />
    </Modal>
  );
}

function Content({ onDone }: { onDone: (isOther: boolean) => void }) {
  const [before] = useState(nameBefore);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // A dialog below would close at the Escape key, and what was typed in it would be lost.
    for (const each of box.current?.querySelectorAll('input, button') ?? []) each.setAttribute('data-mantine-stop-propagation', 'true');
  }, []);
  return (
    <div ref={box}>
      <p className="dim">Your session has ended. What is on the page stays, and goes on when you are back.</p>
      <LoginForm name={before} onDone={({ principal }) => onDone(principal?.name !== before)} />
    </div>
  );
}
