import { Button } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';

import { say } from '../ui/notify';
import { changePassword } from './deeds';
import { Password, Said, useEntry } from './Fields';
import { PASSWORD_HINT, passwordMistake } from './rules';
import { sessionQuery } from './session';

/** Puts another password in the place of the one the person has. */
export function PasswordForm() {
  const client = useQueryClient();
  const { data } = useQuery(sessionQuery);
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const { form, mistakes, isPending } = useEntry(
    'old',
    () => ({ old: old === '' ? 'Give the password you have.' : undefined, new: passwordMistake(next) }),
    async () => {
      await changePassword(old, next);
      setOld('');
      setNext('');
      say('Your password is changed, and you are signed out everywhere else.');
      void client.invalidateQueries({ queryKey: ['me', 'sessions'] });
    },
  );
  return (
    <form aria-labelledby="own-password" {...form}>
      {/* So that a password manager knows of whom the password is. */}
      <input type="text" name="username" autoComplete="username" value={data?.principal?.name ?? ''} readOnly hidden />
      <Password label="Password now" name="old" autoComplete="current-password" value={old} error={mistakes.fields['old']} onChange={(event) => setOld(event.currentTarget.value)} />
      <Password
        label="New password"
        name="new"
        autoComplete="new-password"
        description={PASSWORD_HINT}
        value={next}
        error={mistakes.fields['new']}
        onChange={(event) => setNext(event.currentTarget.value)}
      />
      <Said>{mistakes.whole}</Said>
      <Button type="submit" variant="default" loading={isPending}>
        Change the password
      </Button>
    </form>
  );
}
