import { Button, TextInput } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';

import { useAbout } from '../api/attention';
import type { Workflow } from '../api/client';
import { lastExecutionsQuery, workflowsQuery } from '../api/queries';
import { usePermission } from '../sign-in/permission';
import { instant } from '../ui/format';
import { Icon } from '../ui/Icon';
import { Segments } from '../ui/Segments';
import { Page } from '../ui/Page';
import { Empty, Failed, Loading, More } from '../ui/States';
import { Status } from '../ui/Status';
import { look } from '../ui/status';
import { Ago, useRested } from '../ui/Time';
import { ExecuteButton } from './ExecuteButton';

const route = getRouteApi('/workflows');

/** The newest executions of a workflow, the newest on the right. */
function Strip({ workflow }: { workflow: string }) {
  const { data } = useQuery(lastExecutionsQuery(workflow));
  const items = [...(data?.items ?? [])].reverse();
  if (data && items.length === 0) return <span className="dim">never executed</span>;
  const words = items.map((execution) => look(execution.failing ? 'failing' : execution.status));
  return (
    <Link to="/executions" search={{ workflow }} className="strip" aria-label={`Last executions: ${words.map((each) => each.word).join(', ')}`}>
      {items.map((execution, index) => (
        <span
          key={execution.id}
          className={`strip-mark tone-${words[index]?.tone ?? 'quiet'}`}
          title={`${words[index]?.word ?? ''}, ${instant(execution.created_at)}`}
        />
      ))}
    </Link>
  );
}

function Last({ workflow }: { workflow: string }) {
  const { data } = useQuery(lastExecutionsQuery(workflow));
  const last = data?.items[0];
  if (!last) return <span className="dim">–</span>;
  return (
    <span className="pair">
      <Status status={last.failing ? 'failing' : last.status} />
      <span className="dim">
        <Ago at={last.created_at} />
      </span>
    </span>
  );
}

function Row({ workflow }: { workflow: Workflow }) {
  useAbout(lastExecutionsQuery(workflow.id).queryKey);
  return (
    <tr>
      <td className="main-cell">
        <Link to="/workflows/$id/edit" params={{ id: workflow.id }} className="row-link">
          {workflow.name}
        </Link>
        {workflow.status === 'archived' && <Status status="archived" />}
        {workflow.description && <div className="dim clip">{workflow.description}</div>}
      </td>
      <td className="only-wide">
        {workflow.tags.map((tag) => (
          <span key={tag} className="tag">
            {tag}
          </span>
        ))}
        {workflow.category && <span className="tag quiet">{workflow.category}</span>}
      </td>
      <td>
        <Last workflow={workflow.id} />
      </td>
      <td className="only-wide">
        <Strip workflow={workflow.id} />
      </td>
      <td className="num only-wide">{workflow.version}</td>
      <td className="dim only-wide">
        <Ago at={workflow.updated_at} />
      </td>
      <td className="actions-cell">
        <ExecuteButton id={workflow.id} name={workflow.name} archived={workflow.status === 'archived'} />
        <Link
          to="/executions"
          search={{ workflow: workflow.id }}
          className="icon-link"
          aria-label={`Executions of ${workflow.name}`}
          title="Executions"
        >
          <Icon name="list" />
        </Link>
      </td>
    </tr>
  );
}

/** Every workflow, the newest first, with its last executions. */
export function WorkflowList() {
  const { q = '', status } = route.useSearch();
  const navigate = useNavigate();
  const [typed, setTyped] = useState(q);
  const rested = useRested(typed.trim(), 250);
  const refused = usePermission('workflow.create');
  const list = useInfiniteQuery(workflowsQuery(q, status));
  useAbout(workflowsQuery(q, status).queryKey);
  const items = list.data?.pages.flatMap((page) => page.items) ?? [];

  useEffect(() => {
    if (rested !== q) {
      void navigate({ to: '/workflows', search: (before) => ({ ...before, q: rested || undefined }) as never, replace: true });
    }
  }, [rested]); // eslint-disable-line react-hooks/exhaustive-deps -- follows what was typed, not what the address became

  return (
    <Page
      title="Workflows"
      actions={
        refused === undefined && (
          <Button component={Link} to="/workflows/new" size="xs" leftSection={<Icon name="plus" size={14} />}>
            New workflow
          </Button>
        )
      }
    >
      <div className="filters">
        <TextInput
          className="filters-find"
          size="xs"
          placeholder="Find by name or description"
          aria-label="Find by name or description"
          leftSection={<Icon name="search" size={14} />}
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
        />
        <Segments
          size="xs"
          aria-label="Which workflows"
          value={status ?? 'all'}
          data={[
            { value: 'all', label: 'All' },
            { value: 'active', label: 'Active' },
            { value: 'archived', label: 'Archived' },
          ]}
          onChange={(value) =>
            void navigate({
              to: '/workflows',
              search: (before) => ({ ...before, status: value === 'all' ? undefined : value }) as never,
              replace: true,
            })
          }
        />
      </div>
      {list.isPending ? (
        <Loading />
      ) : list.isError && !list.data ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : items.length === 0 ? (
        q || status ? (
          <Empty icon="search" title="No workflow matches.">
            <Button variant="default" size="xs" component={Link} to="/workflows" search={{} as never} onClick={() => setTyped('')}>
              Show all
            </Button>
          </Empty>
        ) : (
          <Empty icon="flow" title="There are no workflows yet.">
            {refused ?? (
              <Button component={Link} to="/workflows/new" size="xs" leftSection={<Icon name="plus" size={14} />}>
                Draw the first one
              </Button>
            )}
          </Empty>
        )
      ) : (
        <div className="table-box">
          <table className="table">
            <thead>
              <tr>
                <th>Workflow</th>
                <th className="only-wide">Tags</th>
                <th>Last execution</th>
                <th className="only-wide">Before that</th>
                <th className="num only-wide">Version</th>
                <th className="only-wide">Changed</th>
                <th>
                  <span className="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {items.map((workflow) => (
                <Row key={workflow.id} workflow={workflow} />
              ))}
            </tbody>
          </table>
          <More list={list}>Show more</More>
        </div>
      )}
    </Page>
  );
}
