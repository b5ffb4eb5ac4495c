import { TextInput, type TextInputProps } from '@mantine/core';
import { useEffect, useRef, useState, type FormEvent } from 'react';

import { ApiProblem } from '../api/problem';

/** What somebody is called. */
export function Name(props: TextInputProps) {
  return <TextInput label="Name" name="name" autoComplete="username" autoCapitalize="none" autoCorrect="off" spellCheck={false} {...props} />;
}

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
interface Mistakes {
  fields: Readonly<Record<string, string | undefined>>;
  whole?: string;
}

const NONE: Mistakes = { fields: {} };

const hasMistakes = ({ fields, whole }: Mistakes): boolean => whole !== undefined || Object.values(fields).some((each) => each !== undefined);

/** What the server found wrong; what it does not say of a field is said of the whole. */
function mistakesOf(error: unknown, names: readonly string[]): Mistakes {
  const problems = error instanceof ApiProblem ? error.problems : [];
  const fields = Object.fromEntries(problems.flatMap(({ path, message }) => names.filter((name) => path.includes(name)).map((name) => [name, message] as const)));
  if (Object.keys(fields).length > 0) return { fields };
  return { fields, whole: error instanceof Error ? error.message : String(error) };
}

/** Takes the focus to the first field that is wrong, else to `otherwise`. */
function useFormFocus(mistakes: Mistakes, otherwise: string) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (!hasMistakes(mistakes)) return;
    const field = form.current?.querySelector<HTMLInputElement>('[aria-invalid="true"]') ?? form.current?.querySelector<HTMLInputElement>(`[name="${otherwise}"]`);
    field?.focus();
    field?.select();
  }, [mistakes, otherwise]);
  return form;
}

/**
 * A form that is sent when `check` finds nothing wrong with its fields. What the server finds wrong is shown like what is found
 * here; the first wrong field has the focus then, else the field `focus`.
 */
export function useEntry(focus: string, check: () => Mistakes['fields'], send: () => Promise<void>) {
  const [mistakes, setMistakes] = useState(NONE);
  const [isPending, setPending] = useState(false);
  const ref = useFormFocus(mistakes, focus);
  const enter = async () => {
    if (isPending) return;
    const found: Mistakes = { fields: check() };
    setMistakes(found);
    if (hasMistakes(found)) return;
    setPending(true);
    try {
      await send();
    } catch (error) {
      setMistakes(mistakesOf(error, Object.keys(found.fields)));
    } finally {
      setPending(false);
    }
  };
  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    void enter();
  };
  return { mistakes, isPending, form: { ref, className: 'sign-in-form', noValidate: true, onSubmit } };
}

/** The place where a form says what is wrong; it is there before it says anything, so that it is read out. */
export function Said({ children }: { children: string | undefined }) {
  return (
    <p role="alert" className="field-mistake">
      {children}
    </p>
  );
}
