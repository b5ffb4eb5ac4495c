import '../styles/sign-in.css';

import { useQuery } from '@tanstack/react-query';

import { Page } from '../ui/Page';
import { OwnSessions } from './OwnSessions';
import { PasswordForm } from './PasswordForm';
import { sessionQuery } from './session';

/** What somebody sees of their own account. */
export function Me() {
  const { data } = useQuery(sessionQuery);
  const { name, roles } = data?.principal ?? {};
  return (
    <Page title="Your account">
      <p>
        {name}{' '}
        {roles?.map((role) => (
          <span key={role} className="tag">
            {role}
          </span>
        ))}
      </p>
      <section className="account" aria-labelledby="own-sessions">
        <h2 id="own-sessions">Where you are signed in</h2>
        <OwnSessions />
      </section>
      <section className="account" aria-labelledby="own-password">
        <h2 id="own-password">Change your password</h2>
        <PasswordForm />
      </section>
    </Page>
  );
}
