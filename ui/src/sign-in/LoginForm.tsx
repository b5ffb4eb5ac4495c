import { Button } from '@mantine/core';
import { useState } from 'react';

import { signIn } from './deeds';
import { Name, Password, Said, useEntry } from './Fields';
import type { Session } from './session';

/** Name and password of somebody who has an account. */
export function LoginForm({ name: known, onDone }: { name: string; onDone?: (session: Session) => void }) {
  const [name, setName] = useState(known);
  const [password, setPassword] = useState('');
  const { form, mistakes, isPending } = useEntry(
    'password',
    () => ({ name: name.trim() === '' ? 'Give your name.' : undefined, password: password === '' ? 'Give your password.' : undefined }),
    async () => {
      const session = await signIn(name.trim(), password);
      setPassword('');
      onDone?.(session);
    },
  );
  return (
    <form aria-label="Sign in" {...form}>
      <Name data-autofocus={known === '' || undefined} autoFocus={known === ''} value={name} error={mistakes.fields['name']} onChange={(event) => setName(event.currentTarget.value)} />
      <Password
        label="Password"
        name="password"
        autoComplete="current-password"
        data-autofocus={known !== '' || undefined}
        autoFocus={known !== ''}
        value={password}
        error={mistakes.fields['password']}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      <Said>{mistakes.whole}</Said>
      <Button type="submit" loading={isPending}>
        Sign in
      </Button>
    </form>
  );
}
