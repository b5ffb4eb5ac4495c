import { useQuery } from '@tanstack/react-query';

import { useAbout } from '../api/attention';
import { healthQuery, workersQuery } from '../api/queries';
import { bytes, shortId } from '../ui/format';
import { Page } from '../ui/Page';
import { Empty, Failed, Loading } from '../ui/States';
import { Status } from '../ui/Status';
import { Ago } from '../ui/Time';

/** Who works, and whether what they stand on is well. */
export function Workers() {
  const workers = useQuery(workersQuery);
  useAbout(workersQuery.queryKey);
  const health = useQuery(healthQuery);
  return (
    <Page title="Workers">
      {health.data && (
        <div className="parts" aria-label="Health">
          {Object.entries(health.data.components).map(([name, part]) => (
            <div key={name} className="part">
              <Status status={part.status} />
              <span className="part-name">{name}</span>
              <span className="dim num">{part.duration_ms.toFixed(1)} ms</span>
              {part.detail && <span className="dim">{part.detail}</span>}
            </div>
          ))}
          <span className="dim">version {health.data.version}</span>
        </div>
      )}
      {workers.isPending ? (
        <Loading rows={4} />
      ) : workers.isError && !workers.data ? (
        <Failed error={workers.error} retry={() => void workers.refetch()} />
      ) : workers.data.items.length === 0 ? (
        <Empty icon="server" title="No worker was heard of within 30 seconds.">
          <span className="dim">
            Start one with <code>apg worker</code>.
          </span>
        </Empty>
      ) : (
        <div className="table-box">
          <table className="table">
            <thead>
              <tr>
                <th>Worker</th>
                <th>Pool</th>
                <th className="num">Tasks</th>
                <th className="num only-wide">Processor</th>
                <th className="num only-wide">Memory</th>
                <th className="only-wide">Version</th>
                <th className="only-wide">Started</th>
                <th>Heard of</th>
              </tr>
            </thead>
            <tbody>
              {workers.data.items.map((worker) => (
                <tr key={worker.id}>
                  <td className="main-cell">
                    {worker.host} <code className="dim">…{shortId(worker.id)}</code>{' '}
                    {worker.draining && <span className="tag">draining</span>}
                  </td>
                  <td>
                    {worker.pool}{' '}
                    {worker.tags.map((tag) => (
                      <span key={tag} className="tag">
                        {tag}
                      </span>
                    ))}
                  </td>
                  <td className="num">
                    {worker.running} of {worker.concurrency}
                  </td>
                  <td className="num only-wide">{worker.cpu_percent.toFixed(0)} %</td>
                  <td className="num only-wide">{bytes(worker.memory_bytes)}</td>
                  <td className="dim only-wide">{worker.version}</td>
                  <td className="dim only-wide">
                    <Ago at={worker.started_at} />
                  </td>
                  <td className="dim">
                    <Ago at={worker.seen_at} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Page>
  );
}
