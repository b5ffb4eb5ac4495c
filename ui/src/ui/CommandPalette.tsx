import '../styles/dialog.css';
import '@mantine/spotlight/styles.css';

import { useMantineColorScheme } from '@mantine/core';
import { Spotlight, spotlight, type SpotlightActionData, type SpotlightActionGroupData } from '@mantine/spotlight';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useEffect } from 'react';

import { answer, api } from '../api/client';
import { signOut } from '../sign-in/deeds';
import { usePermission } from '../sign-in/permission';
import { useCommands } from './commands';
import { ago } from './format';
import { Icon, type IconName } from './Icon';
import { sayProblem } from './notify';
import { look } from './status';
import { useNow, useRested } from './Time';

const icon = (name: IconName) => <Icon name={name} />;

/** Ctrl-K: every page, every action of the page at hand, and workflows and executions by name. */
export function CommandPalette({
  opened,
  close,
  query,
  setQuery,
}: {
  opened: boolean;
  close: () => void;
  query: string;
  setQuery: (query: string) => void;
}) {
  const navigate = useNavigate();
  const now = useNow();
  const { setColorScheme } = useMantineColorScheme();
  const commands = useCommands();
  const refused = usePermission('workflow.create');
  const rested = useRested(query.trim(), 150);

  useEffect(() => (opened ? spotlight.open() : spotlight.close()), [opened]);

  const { data: workflows } = useQuery({
    queryKey: ['palette', 'workflows', rested],
    queryFn: ({ signal }) =>
      answer(api.GET('/api/v1/workflows', { params: { query: { limit: 8, ...(rested && { search: rested }) } }, signal })),
    enabled: opened,
    // What is selected must not vanish under the Enter key while the next answer is on its way.
    placeholderData: keepPreviousData,
  });
  const { data: executions } = useQuery({
    queryKey: ['palette', 'executions'],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/executions', { params: { query: { limit: 6 } }, signal })),
    enabled: opened,
  });

  // The palette selects its first line when somebody types, by this attribute. Its lines may come later: with the palette
  // itself, and with what the server finds. Without a selected line Enter would do nothing.
  useEffect(() => {
    if (!opened || !query.trim()) return undefined;
    const select = () => {
      if (!document.querySelector('[data-action][data-selected]')) {
        document.querySelector('[data-action]')?.setAttribute('data-selected', 'true');
      }
    };
    select();
    const lines = new MutationObserver(select);
    lines.observe(document.body, { childList: true, subtree: true });
    return () => lines.disconnect();
  }, [opened, query]);

  const pages: SpotlightActionData[] = [
    { id: 'new', label: 'New workflow', description: refused ?? '', disabled: refused !== undefined, leftSection: icon('plus'), onClick: () => void navigate({ to: '/workflows/new' }) },
    { id: 'dashboard', label: 'Dashboard', leftSection: icon('chart'), onClick: () => void navigate({ to: '/dashboard' }) },
    { id: 'workflows', label: 'Workflows', leftSection: icon('flow'), onClick: () => void navigate({ to: '/workflows' }) },
    { id: 'executions', label: 'Executions', leftSection: icon('list'), onClick: () => void navigate({ to: '/executions' }) },
    {
      id: 'failed',
      label: 'Failed executions',
      leftSection: icon('cross'),
      onClick: () => void navigate({ to: '/executions', search: { status: 'failed' } }),
    },
    { id: 'schedules', label: 'Schedules', leftSection: icon('clock'), onClick: () => void navigate({ to: '/schedules' }) },
    { id: 'approvals', label: 'Approvals', leftSection: icon('person'), onClick: () => void navigate({ to: '/approvals' }) },
    { id: 'workers', label: 'Workers and health', leftSection: icon('server'), onClick: () => void navigate({ to: '/workers' }) },
    { id: 'me', label: 'Your account', leftSection: icon('person'), onClick: () => void navigate({ to: '/me' }) },
    { id: 'sign-out', label: 'Sign out', leftSection: icon('external'), onClick: () => void signOut().catch((error: unknown) => sayProblem('You are still signed in', error)) },
    { id: 'docs', label: 'API reference', leftSection: icon('book'), onClick: () => location.assign('/api/v1/docs') },
    { id: 'light', label: 'Light colours', leftSection: icon('sun'), onClick: () => setColorScheme('light') },
    { id: 'dark', label: 'Dark colours', leftSection: icon('moon'), onClick: () => setColorScheme('dark') },
    { id: 'auto', label: 'Colours of the system', leftSection: icon('sun'), onClick: () => setColorScheme('auto') },
  ];
  const groups: SpotlightActionGroupData[] = [
    {
      group: 'On this page',
      actions: commands.map(({ id, label, keys, icon: name, run, reason }) => ({
        id: `here-${id}`,
        label,
        description: reason ?? '',
        disabled: reason !== undefined,
        leftSection: icon(name),
        rightSection: keys ? <kbd>{keys}</kbd> : undefined,
        onClick: run,
      })),
    },
    { group: 'Go to', actions: pages },
    {
      group: 'Workflows',
      actions: (workflows?.items ?? []).map((workflow) => ({
        id: workflow.id,
        label: workflow.name,
        description: workflow.description,
        leftSection: icon('flow'),
        onClick: () => void navigate({ to: '/workflows/$id/edit', params: { id: workflow.id } }),
      })),
    },
    {
      group: 'Newest executions',
      actions: (executions?.items ?? []).map((execution) => ({
        id: execution.id,
        label: execution.workflow_name,
        description: `${look(execution.status).word}, ${ago(execution.created_at, now)}`,
        keywords: [execution.id, execution.status],
        leftSection: icon('play'),
        onClick: () => void navigate({ to: '/executions/$id', params: { id: execution.id } }),
      })),
    },
  ].filter((group) => group.actions.length > 0);

  return (
    <Spotlight
      actions={groups}
      query={query}
      onQueryChange={setQuery}
      shortcut={null}
      highlightQuery
      scrollable
      maxHeight={420}
      overlayProps={{ blur: 0, backgroundOpacity: 0.35 }}
      nothingFound="Nothing is called that."
      searchProps={{ placeholder: 'Search or do something', leftSection: icon('search'), 'aria-label': 'Search or do something' }}
      onSpotlightClose={close}
    />
  );
}
