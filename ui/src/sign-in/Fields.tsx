import { TextInput, type TextInputProps } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';

import { ApiProblem } from '../api/problem';

/** A password, which can be looked at while it is typed. */
export function Password({ autoComplete, ...rest }: TextInputProps & { autoComplete: 'current-password' | 'new-password' }) {
  const [isShown, setShown] = useState(false);
  return (
    <div className="password">
      <TextInput {...rest} type={isShown ? 'text' : 'password'} autoComplete={autoComplete} autoCapitalize="none" autoCorrect="off" spellCheck={false} />
      <label>
        <input type="checkbox" checked={isShown} onChange={(event) => setShown(event.currentTarget.checked)} /> Show the password
      </label>
    </div>
  );
}

/** What is wrong with a form: at its fields, by their names, and with all of it. */
export interface Mistakes {
  fields: Readonly<Record<string, string | undefined>>;
  whole?: string;
}

export const NONE: Mistakes = { fields: {} };

export const hasMistakes = ({ fields, whole }: Mistakes): boolean => whole !== undefined || Object.values(fields).some((each) => each !== undefined);

/** What the server found wrong; what it does not say of a field is said of the whole. */
export function mistakesOf(error: unknown, names: readonly string[]): Mistakes {
  const problems = error instanceof ApiProblem ? error.problems : [];
  const fields = Object.fromEntries(problems.flatMap(({ path, message }) => names.filter((name) => path.includes(name)).map((name) => [name, message] as const)));
  if (Object.keys(fields).length > 0) return { fields };
  return { fields, whole: error instanceof Error ? error.message : String(error) };
}

/** Takes the focus to the first field that is wrong, else to `otherwise`. */
export function useFormFocus(mistakes: Mistakes, otherwise: string) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (!hasMistakes(mistakes)) return;
    const field = form.current?.querySelector<HTMLInputElement>('[aria-invalid="true"]') ?? form.current?.querySelector<HTMLInputElement>(`[name="${otherwise}"]`);
    field?.focus();
    field?.select();
  }, [mistakes, otherwise]);
  return form;
}

/** The place where a form says what is wrong; it is there before it says anything, so that it is read out. */
export function Said({ children }: { children: string | undefined }) {
  return (
    <p role="alert" className="field-mistake">
      {children}
    </p>
  );
}
