import { ActionIcon } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';

import { usePermission } from '../sign-in/permission';
import { Icon } from '../ui/Icon';
import { onDemand } from '../ui/onDemand';

/** Asks for the parameters of a workflow, and executes it. */
export const ExecuteDialog = onDemand(() => import('./Execute').then((part) => part.ExecuteDialog));

/** The button in a list that opens the dialog. */
export function ExecuteButton({ id, name, archived }: { id: string; name: string; archived: boolean }) {
  const [opened, dialog] = useDisclosure(false);
  const refused = usePermission('workflow.execute');
  return (
    <>
      <ActionIcon
        data-hint={archived ? 'It is archived and takes no new executions' : (refused ?? 'Execute')}
        variant="subtle"
        size="sm"
        onClick={dialog.open}
        aria-label={`Execute ${name}`}
        disabled={archived || refused !== undefined}
      >
        <Icon name="play" size={12} />
      </ActionIcon>
      <ExecuteDialog id={id} name={name} opened={opened} close={dialog.close} />
    </>
  );
}
