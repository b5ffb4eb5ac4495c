import '../styles/monitor.css';

import { Button, Progress, Tabs } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useMemo, useState } from 'react';

import { useAbout } from '../api/attention';
import { answer, api, type Execution } from '../api/client';
import { see, useLive, type Connection } from '../api/live';
import { momentQuery } from '../api/moment';
import { componentsQuery, executionQuery, humanTasksQuery, readAhead, tasksQuery, versionQuery, whyQuery } from '../api/queries';
import { read, textOfDefinition } from '../model/document';
import { Types } from '../model/ports';
import type { MonitorTab } from '../router';
import { usePermission } from '../sign-in/permission';
import { useOffer, type Command } from '../ui/commands';
import { shortId } from '../ui/format';
import { Icon } from '../ui/Icon';
import { JsonView } from '../ui/JsonView';
import { say, sayProblem } from '../ui/notify';
import { onDemand } from '../ui/onDemand';
import { useTitle } from '../ui/Page';
import { Empty, Failed, Loading } from '../ui/States';
import { Status } from '../ui/Status';
import { isFinal } from '../ui/status';
import { Ago, Countdown, Took } from '../ui/Time';
import { leastOf, tasksOf } from './attempts';
import { DEEDS, type Deed } from './deeds';
import { Detail } from './Detail';
import { ExecutionGraph } from './Graph';
import { Journal } from './Journal';
import { Logs } from './Logs';
import type { From } from './Retry';
import { Tasks } from './Tasks';
import { Timeline } from './Timeline';
import { TimeTravel } from './TimeTravel';
import { attemptsAt } from './travel';
import { useAttempts } from './useAttempts';

const HumanTaskCard = lazy(() => import('../people/HumanTask').then((part) => ({ default: part.HumanTaskCard })));

const route = getRouteApi('/executions/$id');

/** Why it does not go on: a sentence, and whom or what it waits for. */
function Why({ id, live }: { id: string; live: boolean }) {
  const why = useQuery({ ...whyQuery(id), enabled: live, refetchInterval: live ? 5_000 : false });
  if (!live || !why.data) return null;
  return (
    <details className="banner is-why">
      <summary>
        <Icon name="help" size={14} />
        <span>{why.data.summary}</span>
      </summary>
      <ul>
        {why.data.waiting.map((waiting, index) => (
          <li key={index}>
            {waiting.component && <code>{waiting.component}</code>} {waiting.sentence}
            {waiting.until && (
              <>
                {' '}
                <Countdown until={waiting.until} />
              </>
            )}
            {(waiting.holders ?? []).map((holder) => (
              <span key={holder.execution}>
                {' '}
                held by{' '}
                <Link to="/executions/$id" params={{ id: holder.execution }}>
                  …{shortId(holder.execution)}
                </Link>
              </span>
            ))}
          </li>
        ))}
      </ul>
    </details>
  );
}

/** The first failure, on the first screen. */
function FailureBanner({ execution, onShow }: { execution: Execution; onShow: (component: string) => void }) {
  const { failure, failing, failing_component: component } = execution;
  if (!failure || (!failing && execution.status === 'completed')) return null;
  return (
    <div className="banner is-failure" role="alert">
      <Icon name="alert" size={14} />
      <span>
        <span className="tag bad">{failure.class}</span> {failure.message}
        {failing && <span className="dim"> It goes on, and will fail.</span>}
      </span>
      {component && (
        <Button size="compact-xs" variant="default" onClick={() => onShow(component)}>
          Show {component}
        </Button>
      )}
    </div>
  );
}

const AskDialog = onDemand(() => import('./Ask').then((part) => part.AskDialog));
const RetryDialog = onDemand(() => import('./Retry').then((part) => part.RetryDialog));

function Controls({ execution, onRetry }: { execution: Execution; onRetry: (from: From) => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asked, setAsked] = useState<Deed>('cancel');
  const [opened, dialog] = useDisclosure(false);
  const { id, status } = execution;
  const isOver = isFinal(status);
  const reason = usePermission('workflow.execute');
  const refused = { disabled: reason !== undefined, 'data-hint': reason };

  const act = useMutation({
    mutationFn: async ({ deed, reason }: { deed: Deed; reason: string }) => {
      const params = { path: { id } };
      const body = reason ? { reason } : {};
      switch (deed) {
        case 'cancel':
          return answer(api.POST('/api/v1/executions/{id}/cancel', { params, body }));
        case 'kill':
          return answer(api.POST('/api/v1/executions/{id}/kill', { params, body }));
        case 'pause':
          return answer(api.POST('/api/v1/executions/{id}/pause', { params, body }));
        case 'resume':
          return answer(api.POST('/api/v1/executions/{id}/resume', { params }));
      }
    },
    onSuccess: (_, { deed }) => say(DEEDS[deed].done),
    onError: (error, { deed }) => sayProblem(`Not done: ${DEEDS[deed].word.toLowerCase()}`, error),
    onSettled: () => {
      dialog.close();
      void client.invalidateQueries({ queryKey: ['execution', id] });
      void client.invalidateQueries({ queryKey: ['executions'] });
    },
  });
  const again = useMutation({
    mutationFn: () =>
      answer(
        api.POST('/api/v1/workflows/{id}/execute', {
          params: { path: { id: execution.workflow_id } },
          body: { parameters: (execution.parameters ?? {}) as never, priority: execution.priority, tags: execution.tags },
        }),
      ),
    onSuccess: (submission) => {
      say('A new execution with the same parameters was accepted.');
      void navigate({ to: '/executions/$id', params: { id: submission.id } });
    },
    onError: (error) => sayProblem('It was not started again', error),
  });

  const ask = (deed: Deed) => {
    setAsked(deed);
    dialog.open();
  };
  const commands: Command[] = isOver
    ? [
        {
          id: 'retry',
          label: status === 'completed' ? 'Retry this execution' : 'Retry from where it failed',
          icon: 'retry',
          run: () => onRetry(status === 'completed' ? 'whole' : 'failed'),
        },
        { id: 'again', label: 'Execute again with the same parameters', icon: 'play', run: () => again.mutate() },
      ]
    : [
        status === 'paused'
          ? { id: 'resume', label: 'Resume this execution', icon: 'play', run: () => act.mutate({ deed: 'resume', reason: '' }) }
          : { id: 'pause', label: 'Pause this execution', icon: 'pause', run: () => ask('pause') },
        { id: 'cancel', label: 'Cancel this execution', icon: 'stop', run: () => ask('cancel') },
        { id: 'kill', label: 'Kill this execution', icon: 'cross', run: () => ask('kill') },
      ];
  useOffer(commands.map((command) => ({ ...command, reason })));

  return (
    <>
      {isOver ? (
        <>
          <Button size="xs" variant="default" {...refused} leftSection={<Icon name="play" size={12} />} loading={again.isPending} onClick={() => again.mutate()}>
            Execute again
          </Button>
          {status !== 'completed' && (
            <Button size="xs" {...refused} leftSection={<Icon name="retry" size={13} />} onClick={() => onRetry('failed')}>
              Retry
            </Button>
          )}
        </>
      ) : (
        <>
          {status === 'paused' ? (
            <Button size="xs" {...refused} leftSection={<Icon name="play" size={12} />} loading={act.isPending} onClick={() => act.mutate({ deed: 'resume', reason: '' })}>
              Resume
            </Button>
          ) : (
            <Button size="xs" variant="default" {...refused} leftSection={<Icon name="pause" size={13} />} onClick={() => ask('pause')}>
              Pause
            </Button>
          )}
          <Button size="xs" variant="default" {...refused} leftSection={<Icon name="stop" size={12} />} onClick={() => ask('cancel')}>
            End
          </Button>
        </>
      )}
      <AskDialog opened={opened} asked={asked} setAsked={setAsked} isPending={act.isPending} close={dialog.close} onDo={(deed, reason) => act.mutate({ deed, reason })} />
    </>
  );
}

function ConnectionMark({ connection, isOver }: { connection: Connection; isOver: boolean }) {
  if (isOver || connection === 'live') return null;
  return (
    <span className="tag" role="status">
      <Icon name="alert" size={11} /> {connection === 'connecting' ? 'Connecting…' : 'Live updates stopped; reload the page'}
    </span>
  );
}

function Data({ execution }: { execution: Execution }) {
  return (
    <div className="data">
      <section>
        <h3>Parameters</h3>
        <JsonView value={execution.parameters ?? {}} label="parameters" />
      </section>
      <section>
        <h3>Output</h3>
        {execution.output_reference ? (
          <a href={execution.output_reference.href}>Download it</a>
        ) : execution.output === undefined || execution.output === null ? (
          <p className="dim">{isFinal(execution.status) ? 'It gave nothing back.' : 'Not yet.'}</p>
        ) : (
          <JsonView value={execution.output} label="output" />
        )}
      </section>
    </div>
  );
}

/** One execution: its graph as it moves, and everything that is known of it. */
export function Monitor() {
  const { id } = route.useParams();
  const search = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const { sight: present, connection } = useLive(id);
  const { at } = search;
  // One question for each turn that is rested on; what is not there yet shows what was there before it.
  const asked = useQuery({ ...momentQuery(id, at ?? 0), enabled: at !== undefined });
  const moment = at === undefined ? undefined : asked.data;
  const sight = useMemo(() => (moment ? see(undefined, 'snapshot', moment) : present), [moment, present]);
  const [retry, setRetry] = useState<From>();
  const execution = useQuery(executionQuery(id));
  const components = useQuery(componentsQuery);
  const version = useQuery({
    ...versionQuery(execution.data?.workflow_id ?? '', execution.data?.workflow_version ?? 0),
    enabled: execution.data !== undefined,
  });
  useEffect(() => void readAhead(client, id), [client, id]);
  const known = execution.data;
  // The stream is ahead of what was read last.
  const now = known && (isFinal(known.status) ? known.status : (present?.progress.status ?? known.status));
  const isOver = now !== undefined && isFinal(now);
  const { list, attempts, hasMore, isCut, more } = useAttempts(known, isOver);
  const people = useQuery({ ...humanTasksQuery({ execution: id, status: 'any' }), enabled: known !== undefined });
  const open = people.data?.items.filter((task) => task.status === 'open') ?? [];
  const tab = search.tab ?? (open.length > 0 ? 'people' : 'timeline');
  useAbout(tasksQuery(id).queryKey, !isOver && (tab === 'timeline' || tab === 'tasks'));
  useAbout(humanTasksQuery({ execution: id, status: 'any' }).queryKey, !isOver && tab === 'people');
  const mayExecute = usePermission('workflow.execute') === undefined;
  useTitle(execution.data ? `${execution.data.workflow_name} …${shortId(id)}` : 'Execution');

  const workflow = useMemo(
    () => (version.data ? read(textOfDefinition(version.data.definition)).workflow : undefined),
    [version.data],
  );
  const types = useMemo(() => new Types(components.data?.items ?? []), [components.data]);
  const all = useMemo(() => tasksOf(attempts), [attempts]);
  const then = moment?.at;
  const tasks = useMemo(() => (then === undefined ? all : tasksOf(attemptsAt(attempts, Date.parse(then)))), [all, attempts, then]);

  const set = (change: Partial<typeof search>) =>
    void navigate({
      to: '/executions/$id',
      params: { id },
      search: (before) => Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined)) as never,
      replace: true,
    });

  if (execution.isError && !known) return <Failed error={execution.error} retry={() => void execution.refetch()} />;
  if (known === undefined || now === undefined) return <Loading />;
  const status = moment?.status ?? now;
  const failing = !isFinal(status) && (sight?.progress.failing ?? known.failing);
  const percent = sight?.progress.progress ?? known.progress ?? (isOver ? 100 : 0);
  const chosen = search.task ? workflow?.components.get(search.task) : undefined;
  const isThen = moment !== undefined;
  const travel = (to: number | undefined) => set({ at: to } as Partial<typeof search>);
  const select = (task: string | undefined) => set({ task, line: undefined } as Partial<typeof search>);

  return (
    <div className="monitor">
      <div className="page-head">
        <Link to="/executions" search={{ workflow: known.workflow_id }} className="crumb" title="Executions of this workflow">
          Executions
        </Link>
        <Icon name="chevron" size={11} />
        <h1>
          <Link to="/workflows/$id/edit" params={{ id: known.workflow_id }} className="row-link">
            {known.workflow_name}
          </Link>{' '}
          <span className="dim num only-wide">v{known.workflow_version}</span>
        </h1>
        <Status status={failing ? 'failing' : status} />
        <ConnectionMark connection={connection} isOver={isOver} />
        <span className="spacer" />
        <span className="monitor-facts only-wide">
          <code title={id}>…{shortId(id)}</code>
          <span>
            by {known.created_by}, <Ago at={known.created_at} />
          </span>
          <span title="From its start to its end">
            <Icon name="clock" size={12} /> <Took from={known.started_at} to={known.completed_at ?? (isOver ? known.started_at : undefined)} />
          </span>
        </span>
        <Controls execution={{ ...known, status: now }} onRetry={setRetry} />
        <RetryDialog execution={{ ...known, status: now }} from={retry} opened={retry !== undefined} close={() => setRetry(undefined)} />
      </div>
      <Progress
        value={percent}
        size={3}
        radius={0}
        aria-label="Components that have settled"
        color={failing || status === 'failed' ? 'red' : status === 'cancelled' ? 'gray' : isOver ? 'teal' : 'apg'}
        className="monitor-progress"
      />
      {present && (
        <TimeTravel
          at={at}
          last={Math.max(present.progress.seq, moment?.last_seq ?? 0)}
          moment={moment}
          isComing={asked.isPlaceholderData || asked.isFetching}
          error={asked.isError ? asked.error.message : undefined}
          onAt={travel}
          onNear={(seq) => void client.prefetchQuery(momentQuery(id, seq))}
        />
      )}
      {(!isThen || failing || isFinal(status)) && <FailureBanner execution={known} onShow={(component) => select(component)} />}
      {(known.retry_of || (known.retried_by?.length ?? 0) > 0) && (
        <div className="banner">
          <Icon name="retry" size={14} />
          <span>
            {known.retry_of && (
              <>
                Does{' '}
                <Link to="/executions/$id" params={{ id: known.retry_of }}>
                  …{shortId(known.retry_of)}
                </Link>{' '}
                again.{' '}
              </>
            )}
            {(known.retried_by?.length ?? 0) > 0 && 'Done again as '}
            {known.retried_by?.map((each) => (
              <Link key={each} to="/executions/$id" params={{ id: each }} className="spaced">
                …{shortId(each)}
              </Link>
            ))}
          </span>
        </div>
      )}
      {known.paused && !isOver && !isThen && (
        <div className="banner">
          <Icon name="pause" size={14} />
          <span>
            Paused by {known.paused.by}, <Ago at={known.paused.since} />
            {known.paused.reason && `: ${known.paused.reason}`}
          </span>
        </div>
      )}
      <Why id={id} live={!isOver && !isThen} />
      <div className={`monitor-body${chosen ? ' has-detail' : ''}`}>
        <div className="monitor-main">
          <div className="monitor-graph">
            {version.isError ? (
              <Failed error={version.error} retry={() => void version.refetch()} />
            ) : workflow && components.data ? (
              <ExecutionGraph workflow={workflow} types={types} sight={sight} tasks={tasks} selected={search.task} onSelect={select} />
            ) : (
              <Loading rows={4} />
            )}
          </div>
          {isCut && (
            <div className="banner" role="status">
              <Icon name="alert" size={14} />
              <span>
                Inside loops the graph shows the first {attempts.length.toLocaleString()} attempts of this execution
                {isOver ? '; whoever scrolls to the end of the timeline reads on' : ''}. Logs and journal have all of it.
              </span>
            </div>
          )}
          <Tabs
            className="monitor-tabs"
            value={tab}
            onChange={(value) => set({ tab: (value ?? undefined) as MonitorTab | undefined } as Partial<typeof search>)}
            keepMounted={false}
          >
            <Tabs.List>
              <Tabs.Tab value="timeline">Timeline</Tabs.Tab>
              <Tabs.Tab value="tasks">
                Tasks{' '}
                <span className="count quiet">
                  {tasks.length}
                  {hasMore && '+'}
                </span>
              </Tabs.Tab>
              <Tabs.Tab value="logs">Logs</Tabs.Tab>
              <Tabs.Tab value="data">Data</Tabs.Tab>
              <Tabs.Tab value="journal">Journal</Tabs.Tab>
              {(people.data?.items.length ?? 0) > 0 && (
                <Tabs.Tab value="people">
                  People {open.length > 0 && <span className="count">{open.length}</span>}
                </Tabs.Tab>
              )}
            </Tabs.List>
            <Tabs.Panel value="timeline">
              {list.isError && !list.data ? (
                <Failed error={list.error} retry={() => void list.refetch()} />
              ) : list.isPending ? (
                <Loading rows={4} />
              ) : (
                <Timeline
                  execution={known}
                  tasks={all}
                  selected={search.task}
                  at={then}
                  cut={hasMore ? { shown: attempts.length, least: leastOf(present) } : undefined}
                  onSelect={select}
                  onMore={more}
                />
              )}
            </Tabs.Panel>
            <Tabs.Panel value="tasks">
              <Tasks tasks={tasks} hasMore={hasMore} selected={search.task} onSelect={select} onMore={more} />
            </Tabs.Panel>
            <Tabs.Panel value="logs">
              <Logs id={id} component={search.task} level={search.level} find={search.find} line={search.line} until={isThen ? at : undefined} onSet={(change) => set(change as Partial<typeof search>)} isOver={isOver} />
            </Tabs.Panel>
            <Tabs.Panel value="data">
              <Data execution={isThen && !isFinal(status) ? { ...known, status, output: undefined, output_reference: null } : known} />
            </Tabs.Panel>
            <Tabs.Panel value="journal">
              <Journal id={id} at={at} onAt={travel} isOver={isOver} />
            </Tabs.Panel>
            <Tabs.Panel value="people" className="scroll-box">
              {people.data?.items.length === 0 && <Empty icon="person" title="Nobody is asked anything." />}
              <Suspense fallback={<Loading rows={4} />}>
                <div className="cards">
                  {people.data?.items.map((task) => (
                    <HumanTaskCard key={task.id} task={task} />
                  ))}
                </div>
              </Suspense>
            </Tabs.Panel>
          </Tabs>
        </div>
        {chosen && workflow && (
          <Detail
            key={chosen.id}
            component={chosen}
            workflow={workflow}
            tasks={tasks.filter((task) => task.component === chosen.id)}
            all={tasks}
            state={sight?.components.get(chosen.id)?.state}
            {...(isOver && mayExecute && chosen.scope.parent === null && chosen.scope.name === 'components' ? { onRetry: () => setRetry({ component: chosen.id }) } : {})}
            onClose={() => select(undefined)}
          />
        )}
      </div>
    </div>
  );
}
