import '../styles/dashboard.css';

import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useMemo, type ReactNode } from 'react';

import { useAbout } from '../api/attention';
import type { Execution } from '../api/client';
import { healthQuery, humanTasksQuery, workersQuery, workflowQuery } from '../api/queries';
import { deadLettersQuery, someExecutionsQuery, statisticsQuery, type Bucket } from '../api/statistics';
import { useGuided } from '../first-minute/guided';
import { Offer } from '../first-minute/Offer';
import { usePermission } from '../sign-in/permission';
import { instant, shortId } from '../ui/format';
import { Icon, type IconName } from '../ui/Icon';
import { Page } from '../ui/Page';
import { Segments } from '../ui/Segments';
import { ErrorBoundary, Failed, Loading } from '../ui/States';
import { Status } from '../ui/Status';
import { Ago } from '../ui/Time';
import { drawings, RANGES, rangeOf, totals, worded, type Drawing } from './series';

const Chart = lazy(() => import('./Chart'));
const route = getRouteApi('/dashboard');
const NONE: readonly Bucket[] = [];
/** Lines of a short list. */
const FEW = 8;

function Figure({ label, value, tone, children }: { label: string; value: ReactNode; tone?: string; children?: ReactNode }) {
  return (
    <div className={`figure${tone ? ` tone-${tone}` : ''}`}>
      <dt>{label}</dt>
      <dd>
        <span className="figure-value num">{value}</span>
        {children && <span className="dim">{children}</span>}
      </dd>
    </div>
  );
}

function ChartCard({ drawing }: { drawing: Drawing }) {
  return (
    <section className="dash-card">
      <h2>{drawing.title}</h2>
      <p className="dim">{drawing.summary}</p>
      {!drawing.isEmpty && (
        <>
          <ErrorBoundary>
            <Suspense fallback={<Loading rows={4} label="Loading the chart" />}>
              <Chart drawing={drawing} />
            </Suspense>
          </ErrorBoundary>
          <details className="chart-table">
            <summary>{drawing.title} as a table</summary>
            <div className="chart-rows" tabIndex={0} role="region" aria-label={`${drawing.title} as a table`}>
              <table className="table">
                <thead>
                  <tr>
                    <th>From</th>
                    {drawing.series.map(({ label }) => (
                      <th key={label} className="num">
                        {label}
                      </th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {drawing.times.map((at, index) => (
                    <tr key={at}>
                      <td>{instant(new Date(at * 1_000).toISOString())}</td>
                      {drawing.series.map(({ label, values }) => (
                        <td key={label} className="num">
                          {worded(values[index], drawing.unit)}
                        </td>
                      ))}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </details>
        </>
      )}
    </section>
  );
}

interface Asked<T> {
  data: T | undefined;
  isPending: boolean;
  isError: boolean;
  error: unknown;
  refetch: () => unknown;
}

/** A part of the page with its own four states: one that cannot be read keeps none of the others. */
function Card<T>({ title, to, asked, empty, icon, isEmpty, children }: { title: string; to?: ReactNode; asked: Asked<T>; empty: string; icon: IconName; isEmpty: (data: T) => boolean; children: (data: T) => ReactNode }) {
  return (
    <section className="dash-card">
      <div className="dash-head">
        <h2>{title}</h2>
        <span className="spacer" />
        {to}
      </div>
      {asked.data === undefined ? (
        asked.isError ? (
          <Failed error={asked.error} retry={() => void asked.refetch()} />
        ) : (
          <Loading rows={3} />
        )
      ) : isEmpty(asked.data) ? (
        <p className="dash-none dim">
          <Icon name={icon} size={14} /> {empty}
        </p>
      ) : (
        children(asked.data)
      )}
    </section>
  );
}

function Executions({ items }: { items: readonly Execution[] }) {
  return (
    <ul className="dash-list">
      {items.map((execution) => (
        <li key={execution.id}>
          <Status status={execution.failing ? 'failing' : execution.status} />
          <Link to="/executions/$id" params={{ id: execution.id }} className="row-link clip">
            {execution.workflow_name} <span className="dim">…{shortId(execution.id)}</span>
          </Link>
          <span className="dim dash-when">
            <Ago at={execution.created_at} />
          </span>
          {execution.failure && <span className="dim clip dash-why">{execution.failure.message}</span>}
        </li>
      ))}
    </ul>
  );
}

/** How it goes: figures over time, what fails, what waits for people, and whether what it stands on is well. */
export function Dashboard() {
  const search = route.useSearch();
  const navigate = useNavigate();
  const range = rangeOf(search.range);
  const { workflow } = search;
  const statistics = useQuery(statisticsQuery(range, workflow));
  const named = useQuery({ ...workflowQuery(workflow ?? ''), enabled: workflow !== undefined });
  const failing = useQuery(someExecutionsQuery({ failing: true, workflow }, FEW));
  const failed = useQuery(someExecutionsQuery({ status: 'failed', workflow }, FEW));
  const recent = useQuery(someExecutionsQuery({ workflow }, FEW));
  const open = useQuery({ ...humanTasksQuery({ status: 'open' }), refetchInterval: 15_000 });
  const workers = useQuery(workersQuery);
  const mayLookAfter = usePermission('admin.system') === undefined;
  const dead = useQuery({ ...deadLettersQuery, enabled: mayLookAfter });
  const health = useQuery(healthQuery);
  useAbout(statisticsQuery(range, workflow).queryKey);
  useAbout(someExecutionsQuery({ failing: true, workflow }, FEW).queryKey);
  useAbout(someExecutionsQuery({ status: 'failed', workflow }, FEW).queryKey);
  useAbout(someExecutionsQuery({ workflow }, FEW).queryKey);
  const { isNew } = useGuided();
  const mayCreate = usePermission('workflow.create') === undefined;
  const mayExecute = usePermission('workflow.execute') === undefined;

  const buckets = statistics.data?.items ?? NONE;
  const charts = useMemo(() => (statistics.data ? drawings(buckets, statistics.data.bucket_seconds) : []), [buckets, statistics.data]);
  const sum = useMemo(() => totals(buckets), [buckets]);
  const isFirst = recent.data?.items.length === 0 && workflow === undefined;
  // Whoever is new here, while little happened; and always while nothing did.
  const isOffered = mayCreate && mayExecute && (isFirst || (isNew && workflow === undefined && recent.data !== undefined && recent.data.items.length < FEW));
  const set = (change: { range?: string | undefined; workflow?: string | undefined }) =>
    void navigate({
      to: '/dashboard',
      search: (before) => Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined)) as never,
      replace: true,
    });
  const trouble: Asked<Execution[]> = {
    data: failing.data && failed.data ? [...failing.data.items, ...failed.data.items.filter((each) => !failing.data.items.some(({ id }) => id === each.id))].slice(0, FEW) : undefined,
    isPending: failing.isPending || failed.isPending,
    isError: failing.isError || failed.isError,
    error: failing.error ?? failed.error,
    refetch: () => Promise.all([failing.refetch(), failed.refetch()]),
  };

  return (
    <Page
      title="Dashboard"
      actions={
        mayCreate && (
          <Button size="xs" component={Link} to="/workflows/new" leftSection={<Icon name="plus" size={12} />}>
            New workflow
          </Button>
        )
      }
    >
      <div className="filters">
        <Segments
          aria-label="Time"
          value={range}
          data={Object.entries(RANGES).map(([value, { label }]) => ({ value, label }))}
          onChange={(value) => set({ range: value === '24h' ? undefined : value })}
        />
        {workflow !== undefined && (
          <span className="tag filter-tag">
            {named.data?.name ?? 'one workflow'}
            <button type="button" aria-label="Figures of all workflows" onClick={() => set({ workflow: undefined })}>
              <Icon name="cross" size={10} />
            </button>
          </span>
        )}
      </div>
      {isOffered && <Offer isEmpty={isFirst} />}
      {statistics.data === undefined ? (
        statistics.isError ? (
          <section className="dash-card">
            <Failed error={statistics.error} retry={() => void statistics.refetch()} />
          </section>
        ) : (
          <Loading rows={6} label="Loading the figures" />
        )
      ) : (
        <>
          <dl className="figures" aria-label={`Figures of the ${RANGES[range].label.toLowerCase()}, and what is open now`}>
            <Figure label="Accepted" value={sum.accepted} />
            <Figure label="Completed" value={sum.completed} tone="good" />
            <Figure label="Failed" value={sum.failed} {...(sum.failed > 0 && { tone: 'bad' })} />
            <Figure label="Running now" value={statistics.data.open.running} tone="busy" />
            <Figure label="Pending now" value={statistics.data.open.pending} />
            <Figure label="Paused now" value={statistics.data.open.paused} />
          </dl>
          <div className="dash-charts">
            {charts.map((drawing) => (
              <ChartCard key={drawing.title} drawing={drawing} />
            ))}
          </div>
        </>
      )}
      <div className="dash-grid">
        <Card
          title="Failing and failed"
          icon="check"
          empty="Nothing has failed."
          to={
            <Link to="/executions" search={{ status: 'failed', ...(workflow !== undefined && { workflow }) }}>
              All failed ones
            </Link>
          }
          asked={trouble}
          isEmpty={(items) => items.length === 0}
        >
          {(items) => <Executions items={items} />}
        </Card>
        <Card
          title="Newest executions"
          icon="play"
          empty="There are none yet."
          to={
            <Link to="/executions" search={workflow === undefined ? {} : { workflow }}>
              All executions
            </Link>
          }
          asked={recent}
          isEmpty={({ items }) => items.length === 0}
        >
          {({ items }) => <Executions items={items} />}
        </Card>
        <Card title="Waiting for people" icon="check" empty="Nobody is asked anything." to={<Link to="/approvals">All approvals</Link>} asked={open} isEmpty={({ items }) => items.length === 0}>
          {({ items, next_cursor }) => (
            <ul className="dash-list">
              {items.slice(0, FEW).map((task) => (
                <li key={task.id}>
                  <Status status={task.status} />
                  <Link to="/executions/$id" params={{ id: task.execution_id }} search={{ tab: 'people' }} className="row-link clip">
                    {task.title ?? task.message ?? task.component}
                  </Link>
                </li>
              ))}
              {items.length > FEW && (
                <li className="dim">
                  and {items.length - FEW}
                  {next_cursor ? ' or more' : ''} others
                </li>
              )}
            </ul>
          )}
        </Card>
        <Card title="Workers" icon="server" empty="No worker was heard of within 30 seconds." to={<Link to="/workers">All workers</Link>} asked={workers} isEmpty={({ items }) => items.length === 0}>
          {({ items }) => {
            const capacity = items.filter((each) => !each.draining).reduce((all, each) => all + each.concurrency, 0);
            const running = items.reduce((all, each) => all + each.running, 0);
            const draining = items.filter((each) => each.draining).length;
            return (
              <>
                <p>
                  {items.length} {items.length === 1 ? 'worker' : 'workers'}, {running} of {capacity} slots taken{draining > 0 ? `, ${draining} draining` : ''}.
                </p>
                <meter className="capacity" aria-label="Slots taken" min={0} max={Math.max(1, capacity)} value={Math.min(running, capacity)}>
                  {running} of {capacity}
                </meter>
              </>
            );
          }}
        </Card>
        {mayLookAfter && (
          <Card title="Dead letters" icon="check" empty="Every message could be used." asked={dead} isEmpty={({ items }) => items.length === 0}>
            {({ items, next_cursor }) => (
              <ul className="dash-list">
                {items.map((letter) => (
                  <li key={letter.id}>
                    <span className="tag bad">{letter.queue}</span>
                    <span className="clip" title={letter.reason}>
                      {letter.reason}
                    </span>
                    <span className="dim dash-when">
                      <Ago at={letter.at} />
                    </span>
                  </li>
                ))}
                {next_cursor && <li className="dim">and older ones</li>}
              </ul>
            )}
          </Card>
        )}
        <Card title="Health" icon="check" empty="Nothing is checked." asked={health} isEmpty={({ components }) => Object.keys(components).length === 0}>
          {({ components, version }) => (
            <ul className="dash-list">
              {Object.entries(components).map(([name, part]) => (
                <li key={name}>
                  <Status status={part.status} />
                  <span>{name}</span>
                  {part.detail && <span className="dim clip">{part.detail}</span>}
                </li>
              ))}
              <li className="dim">version {version}</li>
            </ul>
          )}
        </Card>
      </div>
    </Page>
  );
}
