import { Button, TextInput } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';

import { useAbout } from '../api/attention';
import type { Execution } from '../api/client';
import { executionsQuery, workflowQuery } from '../api/queries';
import { shortId } from '../ui/format';
import { Choice } from '../ui/Choice';
import { Icon } from '../ui/Icon';
import { Page } from '../ui/Page';
import { Empty, Failed, Loading, More } from '../ui/States';
import { Status } from '../ui/Status';
import { isFinal } from '../ui/status';
import { Switch } from '../ui/Switch';
import { Ago, Took, useRested } from '../ui/Time';
import { SavedFilters } from './SavedFilters';

const route = getRouteApi('/executions');

const STATUSES = ['pending', 'running', 'paused', 'completed', 'failed', 'cancelled'];
const SPANS = [
  { value: 'hour', label: 'Last hour' },
  { value: 'day', label: 'Last 24 hours' },
  { value: 'week', label: 'Last 7 days' },
];

function Row({ execution }: { execution: Execution }) {
  return (
    <tr>
      <td>
        <Status status={execution.failing ? 'failing' : execution.status} />
      </td>
      <td className="main-cell">
        <Link to="/executions/$id" params={{ id: execution.id }} className="row-link">
          {execution.workflow_name}
        </Link>{' '}
        <span className="dim num">v{execution.workflow_version}</span>
        {execution.failure && <div className="dim clip">{execution.failure.message}</div>}
      </td>
      <td className="only-wide">
        <code className="dim" title={execution.id}>
          …{shortId(execution.id)}
        </code>
      </td>
      <td className="only-wide">
        {execution.tags.map((tag) => (
          <Link key={tag} to="/executions" search={(before) => ({ ...before, tag })} className="tag">
            {tag}
          </Link>
        ))}
      </td>
      <td className="dim">
        <Ago at={execution.created_at} />
      </td>
      <td className="num">
        {execution.started_at ? (
          <Took from={execution.started_at} to={execution.completed_at ?? (isFinal(execution.status) ? execution.started_at : undefined)} />
        ) : (
          <span className="dim">–</span>
        )}
      </td>
      <td className="dim only-wide">{execution.created_by}</td>
    </tr>
  );
}

/** Every execution, the newest first. What is filtered by stands in the address. */
export function ExecutionList() {
  const search = route.useSearch();
  const navigate = useNavigate();
  const list = useInfiniteQuery(executionsQuery(search));
  useAbout(executionsQuery(search).queryKey);
  const items = list.data?.pages.flatMap((page) => page.items) ?? [];
  const workflow = useQuery({ ...workflowQuery(search.workflow ?? ''), enabled: search.workflow !== undefined });
  const [tag, setTag] = useState(search.tag ?? '');
  const restedTag = useRested(tag.trim(), 300);
  const isFiltered = Object.keys(search).length > 0;

  const set = (change: Partial<typeof search>) =>
    void navigate({
      to: '/executions',
      search: (before) => Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined)) as never,
      replace: true,
    });

  useEffect(() => setTag(search.tag ?? ''), [search.tag]);
  useEffect(() => {
    if (restedTag !== (search.tag ?? '')) set({ tag: restedTag || undefined } as Partial<typeof search>);
  }, [restedTag]); // eslint-disable-line react-hooks/exhaustive-deps -- follows what was typed

  return (
    <Page title="Executions">
      <div className="filters">
        <Choice
          aria-label="Status"
          none="Any status"
          data={STATUSES.map((status) => ({ value: status, label: status.replace(/^./, (c) => c.toUpperCase()) }))}
          value={search.status}
          onChange={(status) => set({ status } as Partial<typeof search>)}
        />
        <Choice
          aria-label="Accepted"
          none="At any time"
          data={SPANS}
          value={search.from}
          onChange={(from) => set({ from } as Partial<typeof search>)}
        />
        <TextInput size="xs" aria-label="Tag" placeholder="Tag" value={tag} onChange={(event) => setTag(event.currentTarget.value)} />
        <Switch
          size="xs"
          label="Failing now"
          checked={search.failing === true}
          onChange={(event) => set({ failing: event.currentTarget.checked ? true : undefined } as Partial<typeof search>)}
        />
        {search.workflow && (
          <span className="tag filter-tag">
            {workflow.data?.name ?? 'one workflow'}
            <button type="button" aria-label="Executions of all workflows" onClick={() => set({ workflow: undefined } as Partial<typeof search>)}>
              <Icon name="cross" size={10} />
            </button>
          </span>
        )}
      </div>
      <SavedFilters filters={search} />
      {list.isPending ? (
        <Loading />
      ) : list.isError && !list.data ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : items.length === 0 ? (
        isFiltered ? (
          <Empty icon="search" title="No execution matches.">
            <Button variant="default" size="xs" component={Link} to="/executions" search={{} as never}>
              Show all
            </Button>
          </Empty>
        ) : (
          <Empty icon="play" title="Nothing was executed yet.">
            <Button variant="default" size="xs" component={Link} to="/workflows">
              Choose a workflow
            </Button>
          </Empty>
        )
      ) : (
        <div className="table-box">
          <table className="table">
            <thead>
              <tr>
                <th>Status</th>
                <th>Workflow</th>
                <th className="only-wide">Execution</th>
                <th className="only-wide">Tags</th>
                <th>Accepted</th>
                <th className="num">Took</th>
                <th className="only-wide">By</th>
              </tr>
            </thead>
            <tbody>
              {items.map((execution) => (
                <Row key={execution.id} execution={execution} />
              ))}
            </tbody>
          </table>
          <More list={list}>Show older ones</More>
        </div>
      )}
    </Page>
  );
}
