import { useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';

import { Frame } from './Frame';
import { LoginForm } from './LoginForm';
import { returnPath } from './places';
import { nameBefore, sessionQuery } from './session';

const route = getRouteApi('/login');

/** Where somebody signs in, and goes on to the page they wanted to see. */
export function Login() {
  const { next } = route.useSearch();
  const { history } = useRouter();
  const client = useQueryClient();
  const { data } = useQuery(sessionQuery);
  // Whoever comes next does not see what was read for somebody else.
  useEffect(() => client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] }), [client]);
  // Also when it was done in another tab.
  useEffect(() => {
    if (data?.state === 'signed_in') history.replace(returnPath(next, location.origin));
  }, [data, next, history]);
  return (
    <Frame title="Sign in">
      <LoginForm name={nameBefore()} />
    </Frame>
  );
}
