import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useCallback, useState } from 'react';

import { Icon } from '../ui/Icon';
import { sessionQuery } from './session';

const PersonMenu = lazy(() => import('./PersonMenu'));

/** Who is signed in, and what they may do about that. */
export function Person() {
  const { data } = useQuery(sessionQuery);
  const [at, setAt] = useState<[number, number]>();
  const close = useCallback(() => setAt(undefined), []);
  const name = data?.principal?.name;
  if (name === undefined) return null;
  return (
    <>
      <button
        type="button"
        className="signed-in"
        aria-label={`Signed in as ${name}`}
        aria-haspopup="menu"
        aria-expanded={at !== undefined}
        onClick={({ currentTarget }) => {
          const { right, bottom } = currentTarget.getBoundingClientRect();
          setAt([right - 248, bottom + 4]);
        }}
      >
        <Icon name="person" />
        <span className="clip only-wide">{name}</span>
      </button>
      {at && (
        <Suspense fallback={null}>
          <PersonMenu name={name} at={at} close={close} />
        </Suspense>
      )}
    </>
  );
}
