import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';

import { useAbout } from '../api/attention';
import { humanTasksQuery } from '../api/queries';
import { Segments } from '../ui/Segments';
import { Page } from '../ui/Page';
import { Empty, Failed, Loading } from '../ui/States';
import { HumanTaskCard } from './HumanTask';

const route = getRouteApi('/approvals');

/** What people are asked, over all executions. */
export function Approvals() {
  const { status = 'open' } = route.useSearch();
  const navigate = useNavigate();
  const list = useQuery({ ...humanTasksQuery({ status }), refetchInterval: 10_000 });
  useAbout(humanTasksQuery({ status }).queryKey);
  return (
    <Page title="Approvals">
      <div className="filters">
        <Segments
          size="xs"
          aria-label="Which"
          value={status}
          data={[
            { value: 'open', label: 'Open' },
            { value: 'any', label: 'All' },
          ]}
          onChange={(value) => void navigate({ to: '/approvals', search: value === 'open' ? ({} as never) : { status: value }, replace: true })}
        />
      </div>
      {list.isPending ? (
        <Loading />
      ) : list.isError && !list.data ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : list.data.items.length === 0 ? (
        <Empty icon="check" title={status === 'open' ? 'Nobody is asked anything.' : 'Nobody was ever asked anything.'}>
          <span className="dim">Components of the types approval and human_task ask people, and wait for them here.</span>
        </Empty>
      ) : (
        <div className="cards">
          {list.data.items.map((task) => (
            <HumanTaskCard key={task.id} task={task} showExecution />
          ))}
          {list.data.next_cursor && <p className="dim">These are the first 100.</p>}
        </div>
      )}
    </Page>
  );
}
