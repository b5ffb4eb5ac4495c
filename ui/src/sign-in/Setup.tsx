import { Button, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState } from 'react';

import { setUp } from './deeds';
import { hasMistakes, mistakesOf, NONE, Password, Said, useFormFocus, type Mistakes } from './Fields';
import { Frame } from './Frame';
import { nameMistake, PASSWORD_HINT, passwordMistake } from './rules';
import { sessionQuery } from './session';

/** Who owns the installation, and with which password. */
function OwnerForm({ token }: { token: string }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [mistakes, setMistakes] = useState<Mistakes>(NONE);
  const [isPending, setPending] = useState(false);
  const form = useFormFocus(mistakes, 'name');
  const make = async () => {
    if (isPending) return;
    const bare = name.trim();
    const found: Mistakes = { fields: { name: nameMistake(bare), password: passwordMistake(password) } };
    setMistakes(found);
    if (hasMistakes(found)) return;
    setPending(true);
    try {
      await setUp(token, bare, password);
    } catch (error) {
      setMistakes(mistakesOf(error, ['name', 'password']));
      setPending(false);
    }
  };
  return (
    <form
      ref={form}
      className="sign-in-form"
      aria-label="The owner"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void make();
      }}
    >
      <TextInput
        label="Name"
        name="name"
        autoComplete="username"
        autoCapitalize="none"
        autoCorrect="off"
        spellCheck={false}
        autoFocus
        value={name}
        error={mistakes.fields['name']}
        onChange={(event) => setName(event.currentTarget.value)}
      />
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
        Become the owner
      </Button>
    </form>
  );
}

/** Where the owner link leads. */
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
    return (
      <Frame title="This installation has an owner">
        {token !== '' && <p>The link was used already.</p>}
        <Link to="/login">Sign in</Link>
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
      <OwnerForm token={token} />
    </Frame>
  );
}
