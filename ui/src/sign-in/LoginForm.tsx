import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';

import { signIn } from './deeds';
import { mistakesOf, NONE, Password, Said, useFormFocus, type Mistakes } from './Fields';
import type { Session } from './session';

/** Name and password of somebody who has an account. */
export function LoginForm({ name: known, onDone }: { name: string; onDone?: (session: Session) => void }) {
  const [name, setName] = useState(known);
  const [password, setPassword] = useState('');
  const [mistakes, setMistakes] = useState<Mistakes>(NONE);
  const [isPending, setPending] = useState(false);
  const form = useFormFocus(mistakes, 'password');
  const enter = async () => {
    if (isPending) return;
    const [bare, fields] = [name.trim(), {} as Record<string, string>];
    if (bare === '') fields['name'] = 'Give your name.';
    if (password === '') fields['password'] = 'Give your password.';
    if (Object.keys(fields).length > 0) {
      setMistakes({ fields });
      return;
    }
    setPending(true);
    setMistakes(NONE);
    try {
      const session = await signIn(bare, password);
      setPassword('');
      onDone?.(session);
    } catch (error) {
      setMistakes(mistakesOf(error, ['name', 'password']));
    } finally {
      setPending(false);
    }
  };
  return (
    <form
      ref={form}
      className="sign-in-form"
      aria-label="Sign in"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void enter();
      }}
    >
      <TextInput
        label="Name"
        name="name"
        autoComplete="username"
        autoCapitalize="none"
        autoCorrect="off"
        spellCheck={false}
        data-autofocus={known === '' || undefined}
        autoFocus={known === ''}
        value={name}
        error={mistakes.fields['name']}
        onChange={(event) => setName(event.currentTarget.value)}
      />
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
