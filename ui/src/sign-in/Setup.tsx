import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';

import { setUp } from './deeds';
import { Name, Password, Said, useEntry } from './Fields';
import { Frame } from './Frame';
import { nameMistake, PASSWORD_HINT, passwordMistake } from './rules';
import { sessionQuery } from './session';

/** Who somebody is that has a link, and with which password they sign in from now on. */
function LinkForm({ token, label, action }: { token: string; label: string; action: string }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const { form, mistakes, isPending } = useEntry(
    'name',
    () => ({ name: nameMistake(name.trim()), password: passwordMistake(password) }),
    async () => {
      await setUp(token, name.trim(), password);
    },
  );
  return (
    <form aria-label={label} {...form}>
      <Name autoFocus value={name} error={mistakes.fields['name']} onChange={(event) => setName(event.currentTarget.value)} />
      <Password
        label="Password"
        name="password"
        autoComplete="new-password"
        description={PASSWORD_HINT}
        value={password}
        error={mistakes.fields['password']}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      <Said>{mistakes.whole}</Said>
      <Button type="submit" loading={isPending}>
        {action}
      </Button>
    </form>
  );
}

/** Where a link leads: the first owner's, or that of somebody who has forgotten their password. */
export function Setup() {
  const navigate = useNavigate();
  const { data } = useQuery(sessionQuery);
  const [token] = useState(() => location.hash.slice(1));
  // The token is for one use, and is nothing for the history of the browser.
  useEffect(() => {
    if (token !== '') void navigate({ to: '/setup', hash: '', replace: true });
  }, [token, navigate]);
  useEffect(() => {
    if (data?.state === 'signed_in') void navigate({ to: '/dashboard', replace: true });
  }, [data, navigate]);
  if (data?.state === 'signed_in') return null;
  if (data?.state === 'signed_out') {
    if (token === '') {
      return (
        <Frame title="This installation has an owner">
          <Link to="/login">Sign in</Link>
        </Frame>
      );
    }
    return (
      <Frame title="Give yourself a new password">
        <p>All your other sessions end with it.</p>
        <LinkForm token={token} label="New password" action="Set the password" />
        <Link to="/login">Sign in with the one you have</Link>
      </Frame>
    );
  }
  if (token === '') {
    return (
      <Frame title="This installation has no owner yet">
        <p>Open the owner link: it was printed where the server was started.</p>
        <p>
          <code>apg owner-link</code> prints a new one.
        </p>
      </Frame>
    );
  }
  return (
    <Frame title="Become the owner">
      <p>You are the first here. The owner may do everything.</p>
      <LinkForm token={token} label="The owner" action="Become the owner" />
    </Frame>
  );
}
