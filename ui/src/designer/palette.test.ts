import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

import type { ComponentType } from '../api/client';
import { find, firstConfig, isNear } from './palette';

const types = JSON.parse(readFileSync(fileURLToPath(new URL('../../../docs/reference/components.json', import.meta.url)), 'utf8')) as ComponentType[];
const first = (query: string) => find(types, query)[0]?.type;

it.each([
  ['http', 'http_request'],
  ['rest api', 'http_request'],
  ['htpp', 'http_request'],
  ['if', 'decision'],
  ['email', 'notification'],
  ['sleep', 'delay'],
  ['sql', 'database_query'],
  ['foreach', 'loop'],
  ['exception', 'try_catch'],
  ['aproval', 'approval'],
  ['set_variables', 'set_variables'],
])('%s finds %s first', (query, type) => {
  expect(first(query)).toBe(type);
});

it('finds nothing for what nothing is called', () => {
  expect(find(types, 'zzzz')).toEqual([]);
  expect(find(types, '')).toHaveLength(types.length);
});

it('takes one slip of the finger, not two', () => {
  expect(isNear('delay', 'dealy')).toBe(true);
  expect(isNear('delay', 'dely')).toBe(true);
  expect(isNear('delay', 'delays')).toBe(true);
  expect(isNear('delay', 'dxlxy')).toBe(false);
});

it('begins a component with what must be given', () => {
  const type = types.find((each) => each.type === 'decision');
  expect(Object.keys(firstConfig(type!) as object)).toEqual(['condition']);
});
