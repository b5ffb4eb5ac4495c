import { Button } from '@mantine/core';
import { queryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';

import { useAbout } from '../api/attention';
import { instant } from '../ui/format';
import { sayProblem } from '../ui/notify';
import { Failed, Loading } from '../ui/States';
import { Ago } from '../ui/Time';
import { browserOf } from './agent';
import { endSession, ownSessions, signOut, type OwnSession } from './deeds';

const sessionsQuery = queryOptions({ queryKey: ['me', 'sessions'], queryFn: ownSessions, refetchInterval: 15_000 });

/** The sessions of the person, each of which they can end. */
export function OwnSessions() {
  const client = useQueryClient();
  const sessions = useQuery(sessionsQuery);
  useAbout(sessionsQuery.queryKey);
  const end = useMutation({
    mutationFn: (session: OwnSession) => (session.current ? signOut() : endSession(session.id)),
    onError: (error) => sayProblem('The session was not ended', error),
    onSettled: () => client.invalidateQueries({ queryKey: sessionsQuery.queryKey }),
  });
  if (sessions.isPending) return <Loading rows={3} />;
  if (sessions.isError && !sessions.data) return <Failed error={sessions.error} retry={() => void sessions.refetch()} />;
  return (
    <div className="table-box">
      <table className="table">
        <thead>
          <tr>
            <th>Browser</th>
            <th>Address</th>
            <th>Seen</th>
            <th className="only-wide">Signed in</th>
            <th className="only-wide">Ends</th>
            <th>
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {sessions.data.items.map((session) => (
            <tr key={session.id}>
              <td className="main-cell" title={session.agent}>
                {browserOf(session.agent)} {session.current && <span className="tag">this browser</span>}
              </td>
              <td>
                <code>{session.address}</code>
              </td>
              <td className="dim">
                <Ago at={session.seen_at} />
              </td>
              <td className="dim only-wide">
                <Ago at={session.created_at} />
              </td>
              <td className="dim only-wide">{instant(session.expires_at)}</td>
              <td className="actions-cell">
                <Button
                  size="compact-xs"
                  variant="default"
                  aria-label={session.current ? 'Sign out of this browser' : `End the session of ${browserOf(session.agent)}, ${session.address}`}
                  disabled={end.isPending}
                  onClick={() => end.mutate(session)}
                >
                  {session.current ? 'Sign out' : 'End'}
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
