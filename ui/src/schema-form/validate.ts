import { Validator } from '@cfworker/json-schema';

import { isExpression, type JsonSchema } from './schema';

/** One thing that does not fit, and where. */
export interface FormMistake {
  path: string[];
  message: string;
}

/** Takes expressions out: what they will be is not known before the execution gets there. */
function known(value: unknown): unknown {
  if (isExpression(value)) return undefined;
  if (Array.isArray(value)) return value.map(known);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, known(each)]));
  }
  return value;
}

const at = (pointer: string): string[] =>
  pointer
    .replace(/^#\/?/, '')
    .split('/')
    .filter(Boolean)
    .map((part) => decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~'));

/** What in a value does not fit its schema; nothing when all of it does. Interpreted, so that no code is generated. */
export function check(schema: JsonSchema, value: unknown): FormMistake[] {
  const found = new Validator(schema as ConstructorParameters<typeof Validator>[0], '2020-12', false).validate(known(value));
  const mistakes: FormMistake[] = [];
  for (const { keyword, instanceLocation, error } of found.errors) {
    // These only say that something below them is wrong.
    if (keyword === 'properties' || keyword === '$ref' || keyword === 'items' || keyword === 'allOf') continue;
    const path = at(instanceLocation);
    if (keyword === 'required') {
      const name = /"([^"]+)"/.exec(error)?.[1];
      mistakes.push({ path: name === undefined ? path : [...path, name], message: 'Is needed.' });
      continue;
    }
    mistakes.push({ path, message: error });
  }
  return mistakes;
}
