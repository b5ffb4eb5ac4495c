import { Button, CloseButton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';

import { useAbout } from '../api/attention';
import { answer, api } from '../api/client';
import { useOffer } from '../ui/commands';
import { usePermission } from '../sign-in/permission';
import { instant, shortId } from '../ui/format';
import { Icon } from '../ui/Icon';
import { sayProblem } from '../ui/notify';
import { onDemand } from '../ui/onDemand';
import { Page } from '../ui/Page';
import { Empty, Failed, Loading, More } from '../ui/States';
import { Status } from '../ui/Status';
import { Ago, Countdown } from '../ui/Time';
import { backfillsQuery, firesQuery, nextFiresQuery, scheduleQuery, schedulesQuery, type Backfill, type Trigger } from './queries';
import { inItsZone } from './range';

const BackfillDialog = onDemand(() => import('./BackfillDialog').then((part) => part.BackfillDialog));
const route = getRouteApi('/schedules');

/** Pauses a schedule, or lets it go on. */
function usePause(trigger: Trigger) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => {
      const params = { path: { id: trigger.id } };
      return trigger.status === 'paused' ? answer(api.POST('/api/v1/triggers/{id}/resume', { params })) : answer(api.POST('/api/v1/triggers/{id}/pause', { params }));
    },
    onError: (error) => sayProblem(trigger.status === 'paused' ? 'It was not resumed' : 'It was not paused', error),
    onSettled: () => client.invalidateQueries({ queryKey: ['triggers'] }),
  });
}

function Pause({ trigger }: { trigger: Trigger }) {
  const pause = usePause(trigger);
  const refused = usePermission('workflow.edit');
  const isPaused = trigger.status === 'paused';
  if (trigger.status === 'disabled') return <span className="dim">switched off in the document</span>;
  return (
    <Button
      size="compact-xs"
      variant="default"
      disabled={refused !== undefined}
      data-hint={refused}
      loading={pause.isPending}
      leftSection={<Icon name={isPaused ? 'play' : 'pause'} size={11} />}
      aria-label={`${isPaused ? 'Resume' : 'Pause'} ${trigger.name} of ${trigger.workflow_name}`}
      onClick={() => pause.mutate()}
    >
      {isPaused ? 'Resume' : 'Pause'}
    </Button>
  );
}

function Row({ trigger, isChosen }: { trigger: Trigger; isChosen: boolean }) {
  return (
    <tr className={isChosen ? 'is-selected' : ''}>
      <td>
        <Status status={trigger.status} />
      </td>
      <td className="main-cell">
        <Link to="/schedules" search={{ schedule: trigger.id }} className="row-link" {...(isChosen && { 'aria-current': 'true' as const })}>
          {trigger.name}
        </Link>
        {trigger.trouble && <div className="dim clip">{trigger.trouble}</div>}
      </td>
      <td>
        <Link to="/workflows/$id/edit" params={{ id: trigger.workflow_id }}>
          {trigger.workflow_name}
        </Link>{' '}
        <span className="dim num only-wide">v{trigger.workflow_version}</span>
      </td>
      <td className="only-wide">
        {trigger.next_fire_at && trigger.status !== 'paused' ? (
          <time dateTime={trigger.next_fire_at} title={instant(trigger.next_fire_at)}>
            <Countdown until={trigger.next_fire_at} />
          </time>
        ) : (
          <span className="dim">–</span>
        )}
      </td>
      <td className="actions-cell">
        <Pause trigger={trigger} />
      </td>
    </tr>
  );
}

function NextFires({ trigger }: { trigger: Trigger }) {
  const next = useQuery(nextFiresQuery(trigger.id));
  if (next.isPending) return <Loading rows={4} />;
  if (next.isError && !next.data) return <Failed error={next.error} retry={() => void next.refetch()} />;
  return (
    <section>
      <h3>
        Next fires <span className="dim">in {next.data.timezone}</span>
      </h3>
      {trigger.status === 'paused' && <p className="dim">It is paused: none of these is carried out until it is resumed.</p>}
      {next.data.fires.length === 0 ? (
        <p className="dim">It fires no more.</p>
      ) : (
        <ol className="fires">
          {next.data.fires.map((at, index) => (
            <li key={at}>
              <time dateTime={at} title={instant(at)} className="num">
                {inItsZone(next.data.local[index] ?? at)}
              </time>{' '}
              <span className="dim">
                <Countdown until={at} />
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Fires({ trigger }: { trigger: Trigger }) {
  const fires = useInfiniteQuery(firesQuery(trigger.id));
  useAbout(firesQuery(trigger.id).queryKey);
  const items = fires.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <section>
      <h3>What it did</h3>
      {fires.isPending ? (
        <Loading rows={4} />
      ) : fires.isError && !fires.data ? (
        <Failed error={fires.error} retry={() => void fires.refetch()} />
      ) : items.length === 0 ? (
        <p className="dim">It has not fired yet.</p>
      ) : (
        <ul className="fires">
          {items.map((fire) => (
            <li key={`${fire.at} ${fire.backfill_id ?? ''}`}>
              <Status status={fire.outcome} />{' '}
              <span className="num">
                {instant(fire.at)}
                {fire.until && ` to ${instant(fire.until)}`}
              </span>{' '}
              {fire.execution_id ? (
                <Link to="/executions/$id" params={{ id: fire.execution_id }}>
                  …{shortId(fire.execution_id)}
                </Link>
              ) : (
                <span className="dim">{fire.reason}</span>
              )}
            </li>
          ))}
        </ul>
      )}
      <More list={fires}>Show older ones</More>
    </section>
  );
}

function BackfillRow({ backfill }: { backfill: Backfill }) {
  const client = useQueryClient();
  const refused = usePermission('workflow.execute');
  const act = useMutation({
    mutationFn: (deed: 'pause' | 'resume' | 'cancel') => {
      const params = { path: { id: backfill.id } };
      switch (deed) {
        case 'pause':
          return answer(api.POST('/api/v1/backfills/{id}/pause', { params }));
        case 'resume':
          return answer(api.POST('/api/v1/backfills/{id}/resume', { params }));
        case 'cancel':
          return answer(api.POST('/api/v1/backfills/{id}/cancel', { params }));
      }
    },
    onError: (error) => sayProblem('The backfill was left as it is', error),
    onSettled: () => client.invalidateQueries({ queryKey: ['backfills'] }),
  });
  const isOpen = backfill.status === 'running' || backfill.status === 'paused';
  return (
    <li>
      <Status status={backfill.status} />{' '}
      <span className="num">
        {backfill.started + backfill.skipped} of {backfill.total}
      </span>{' '}
      <span>{backfill.reason}</span>{' '}
      <span className="dim">
        {instant(backfill.from)} to {instant(backfill.to)}, by {backfill.created_by}, <Ago at={backfill.created_at} />
      </span>
      {isOpen && (
        <span className="pair">
          <Button size="compact-xs" variant="default" disabled={refused !== undefined} data-hint={refused} onClick={() => act.mutate(backfill.status === 'paused' ? 'resume' : 'pause')}>
            {backfill.status === 'paused' ? 'Resume it' : 'Pause it'}
          </Button>
          <Button size="compact-xs" variant="default" disabled={refused !== undefined} data-hint={refused} onClick={() => act.mutate('cancel')}>
            End it
          </Button>
        </span>
      )}
    </li>
  );
}

function Backfills({ trigger }: { trigger: Trigger }) {
  const list = useInfiniteQuery(backfillsQuery);
  const items = list.data?.pages.flatMap((page) => page.items).filter((each) => each.trigger_id === trigger.id) ?? [];
  return (
    <section>
      <h3>Backfills</h3>
      {list.isError && !list.data ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : items.length === 0 ? (
        <p className="dim">{list.hasNextPage ? 'None among the newest ones.' : 'There are none.'}</p>
      ) : (
        <ul className="fires">
          {items.map((each) => (
            <BackfillRow key={each.id} backfill={each} />
          ))}
        </ul>
      )}
      <More list={list}>Look at older ones</More>
    </section>
  );
}

function Detail({ trigger, close }: { trigger: Trigger; close: () => void }) {
  const [opened, dialog] = useDisclosure(false);
  const pause = usePause(trigger);
  const isPaused = trigger.status === 'paused';
  const refused = usePermission('workflow.execute');
  const mayNotPause = usePermission('workflow.edit');
  useOffer([
    {
      id: 'pause-schedule',
      label: `${isPaused ? 'Resume' : 'Pause'} ${trigger.name}`,
      icon: isPaused ? 'play' : 'pause',
      reason: trigger.status === 'disabled' ? 'It is switched off in the document.' : mayNotPause,
      run: () => pause.mutate(),
    },
    { id: 'backfill', label: `Backfill ${trigger.name}`, icon: 'retry', reason: refused, run: dialog.open },
  ]);
  return (
    <section className="schedule" aria-label={`The schedule ${trigger.name}`}>
      <div className="schedule-head">
        <h2>{trigger.name}</h2>
        <Status status={trigger.status} />
        <span className="spacer" />
        <Button size="compact-xs" variant="default" leftSection={<Icon name="retry" size={11} />} disabled={refused !== undefined} data-hint={refused} onClick={dialog.open}>
          Backfill
        </Button>
        <CloseButton size="sm" aria-label="Close the schedule" onClick={close} />
      </div>
      <div className="schedule-parts">
        <NextFires trigger={trigger} />
        <Backfills trigger={trigger} />
        <Fires trigger={trigger} />
      </div>
      <BackfillDialog trigger={trigger} opened={opened} close={dialog.close} />
    </section>
  );
}

/** Every schedule, when it fires next, and what it did. Which one is looked at stands in the address. */
export function Schedules() {
  const search = route.useSearch();
  const navigate = useNavigate();
  const list = useInfiniteQuery(schedulesQuery);
  useAbout(schedulesQuery.queryKey);
  const items = list.data?.pages.flatMap((page) => page.items) ?? [];
  const inList = items.find((each) => each.id === search.schedule);
  // The one in the address may stand on a later page.
  const single = useQuery({ ...scheduleQuery(search.schedule ?? ''), enabled: search.schedule !== undefined && list.isSuccess && !inList });
  const chosen = inList ?? (search.schedule !== undefined ? single.data : undefined);
  return (
    <Page title="Schedules">
      {list.isPending ? (
        <Loading />
      ) : list.isError && !list.data ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : items.length === 0 ? (
        <Empty icon="clock" title="No workflow has a schedule.">
          <span className="dim">
            A trigger of type <code>schedule</code> in a workflow starts it by time.
          </span>
          <Button variant="default" size="xs" component={Link} to="/workflows">
            Choose a workflow
          </Button>
        </Empty>
      ) : (
        <div className="table-box">
          <table className="table">
            <thead>
              <tr>
                <th>Status</th>
                <th>Schedule</th>
                <th>Workflow</th>
                <th className="only-wide">Fires next</th>
                <th>
                  <span className="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {items.map((trigger) => (
                <Row key={trigger.id} trigger={trigger} isChosen={trigger.id === search.schedule} />
              ))}
            </tbody>
          </table>
          <More list={list}>Show more</More>
        </div>
      )}
      {single.isError && !chosen && <Failed error={single.error} retry={() => void single.refetch()} />}
      {chosen && <Detail key={chosen.id} trigger={chosen} close={() => void navigate({ to: '/schedules', search: {} })} />}
    </Page>
  );
}
