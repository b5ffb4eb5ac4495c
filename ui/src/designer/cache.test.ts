import { expect, it } from 'vitest';

import type { ComponentType } from '../api/client';
import { read, setField } from '../model/document';
import { cacheFrom, cacheOf, cacheRefusal, cacheSentence } from './cache';

const TEXT = `workflow: v1
name: scores
components:
  score:
    type: map
    config: { rows: [6], expression: item + 1 }
`;
const worker = { runs: 'worker' } as ComponentType;
const scoreOf = (text: string) => read(text).workflow.components.get('score')!;

it('a cache without a key and a time is one, and is kept as such', () => {
  expect(cacheOf(scoreOf(TEXT))).toBeUndefined();
  const text = setField(TEXT, scoreOf(TEXT), 'cache', cacheFrom({}));
  expect(text).toMatch(/\n {4}cache: \{\s*\}/);
  expect(cacheOf(scoreOf(text))).toEqual({});
  expect(cacheOf(scoreOf(setField(text, scoreOf(text), 'cache', undefined)))).toBeUndefined();
});

it('key and time go into the document, and out of it when they are emptied', () => {
  const text = setField(TEXT, scoreOf(TEXT), 'cache', cacheFrom({ key: '${{ parameters.customer }}', ttl: '2h' }));
  expect(cacheOf(scoreOf(text))).toEqual({ key: '${{ parameters.customer }}', ttl: '2h' });
  expect(cacheFrom({ key: undefined, ttl: '' })).toEqual({});
  expect(cacheFrom(undefined)).toEqual({});
  // Null is a key like any other in the document; it is the server that says what it means.
  expect(cacheFrom({ key: null })).toEqual({ key: null });
});

it('where nothing can be used again the reason is said', () => {
  const fields = (given: Record<string, unknown>) => ({ fields: given });
  expect(cacheRefusal(fields({}), worker)).toBeUndefined();
  expect(cacheRefusal(fields({ delivery: 'at_least_once' }), worker)).toBeUndefined();
  expect(cacheRefusal(fields({}), { ...worker, runs: 'coordinator' })).toMatch(/worker/);
  expect(cacheRefusal(fields({ delivery: 'at_most_once' }), worker)).toMatch(/at most once/);
  expect(cacheRefusal(fields({ compensate: { type: 'log' } }), worker)).toMatch(/undone/);
  // A type that is not known here is for the server to judge.
  expect(cacheRefusal(fields({}), undefined)).toBeUndefined();
});

it('the sentence says what is compared and for how long', () => {
  expect(cacheSentence({})).toBe('What it gave for the same settings is used again for 1d, by every execution of this workflow.');
  expect(cacheSentence({ key: 'a', ttl: '30m' })).toMatch(/same key is used again for 30m/);
});
