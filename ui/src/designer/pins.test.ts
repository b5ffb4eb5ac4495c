import { expect, it } from 'vitest';

import type { Attempt } from '../api/client';
import { previewOf } from '../model/expressions';
import { pinOf, readPins, withPins } from './pins';

const attempt = (given: Partial<Attempt>) => ({ component: 'a', attempt: 1, dispatches: 1, status: 'completed', ...given }) as Attempt;

it('what an attempt gave is pinned with the ports it left by', () => {
  expect(pinOf(attempt({ output: { n: 1 }, ports: ['true'] }))).toEqual({ output: { n: 1 }, ports: ['true'] });
  expect(pinOf(attempt({ ports: [] }))).toEqual({ output: null });
  expect(pinOf(attempt({ status: 'failed', failure: { class: 'timeout', message: 'late', details: 7 } as never }))).toEqual({
    error: { class: 'timeout', message: 'late' },
  });
});

it('what has given nothing is not pinned, and what is large is fetched first', () => {
  expect(pinOf(undefined)).toBeUndefined();
  expect(pinOf(attempt({ status: 'running' }))).toBeUndefined();
  expect(pinOf(attempt({ status: 'skipped' }))).toBeUndefined();
  expect(pinOf(attempt({ output_reference: { href: '/x', size: 9 } as never }))).toBe('large');
});

it('pins survive being kept, and what is not one is left out', () => {
  const pins = { a: { output: [1], ports: ['x'] }, b: { error: { class: 'timeout', message: '' } }, c: { output: null } };
  expect(readPins(JSON.stringify(pins))).toEqual(pins);
  expect(readPins(JSON.stringify({ a: 7, b: { error: {} }, c: {}, d: { output: 1, ports: 'no' } }))).toEqual({ d: { output: 1 } });
  for (const broken of [null, '', '{"a":', '[]', 'null', '7']) expect(readPins(broken)).toEqual({});
});

it('expressions see what is pinned before what was there last', () => {
  const data = { parameters: { who: 'Ada' }, components: { a: { output: 1, error: { class: 'x' }, attempts: 3 }, b: { output: 2 } } };
  const seen = withPins(data, { a: { output: { n: 5 } }, c: { error: { class: 'timeout', message: 'late' } } });
  expect(seen?.['components']).toEqual({
    a: { output: { n: 5 }, status: 'completed', attempts: 1 },
    b: { output: 2 },
    c: { status: 'failed', error: { class: 'timeout', message: 'late' }, attempts: 1 },
  });
  expect(previewOf('${{ components.a.output.n }} for ${{ parameters.who }}', false, seen ?? {})).toEqual({ kind: 'value', value: '5 for Ada' });
});

it('pins are data where nothing was ever executed, and no pins change nothing', () => {
  expect(withPins(undefined, {})).toBeUndefined();
  const data = { components: {} };
  expect(withPins(data, {})).toBe(data);
  expect(withPins(undefined, { a: { output: 1 } })).toEqual({ parameters: {}, components: { a: { output: 1, status: 'completed', attempts: 1 } } });
});
