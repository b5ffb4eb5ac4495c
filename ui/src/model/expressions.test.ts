import { describe, expect, it } from 'vitest';

import { brief, expressionAt, previewOf, referenceAround, suggest, typedReference, valueOf, writtenAt } from './expressions';

const DATA = {
  parameters: { who: 'Ada', n: 3 },
  components: {
    fetch: { output: { status: 200, body: { total: 120, 'odd key': 1, lines: [{ sku: 'a' }, { sku: 'b' }] } }, status: 'completed' },
    later: { output: { secret: true } },
  },
};
const REFERENCES = ['parameters.who', 'parameters.n', 'components.fetch.output', 'execution.id'];

describe('finding', () => {
  it('finds the expression around a place, and none outside', () => {
    const text = 'Hello ${{ parameters.who }}, and ${{ x';
    expect(text.slice(...Object.values(expressionAt(text, 15, false) ?? { from: 0, to: 0 }))).toBe(' parameters.who ');
    expect(expressionAt(text, 3, false)).toBeUndefined();
    expect(expressionAt(text, 29, false)).toBeUndefined();
    expect(expressionAt(text, text.length, false)).toEqual({ from: 36, to: 38 });
    expect(expressionAt('a > b', 2, true)).toEqual({ from: 0, to: 5 });
  });

  it('finds the reference that is being typed, and none in quotes', () => {
    expect(typedReference(' components.fetch.out')).toBe('components.fetch.out');
    expect(typedReference('1 + parameters.')).toBe('parameters.');
    expect(typedReference('components.fetch.output.body.lines[0].s')).toBe('components.fetch.output.body.lines[0].s');
    expect(typedReference("parameters.who == 'compo")).toBe('');
    expect(typedReference('1 + ')).toBe('');
  });
});

describe('previews', () => {
  it('show what references stand for, with the type of a value that is one', () => {
    expect(previewOf('${{ components.fetch.output.body.total }}', false, DATA)).toEqual({ kind: 'value', value: 120 });
    expect(previewOf('Hello ${{ parameters.who }}: ${{parameters.n}}', false, DATA)).toEqual({ kind: 'value', value: 'Hello Ada: 3' });
    expect(previewOf("components.fetch.output.body['odd key']", true, DATA)).toEqual({ kind: 'value', value: 1 });
    expect(previewOf('components.fetch.output.body.lines[1].sku', true, DATA)).toEqual({ kind: 'value', value: 'b' });
  });

  it('say what has no value, and do not guess what only the server computes', () => {
    expect(previewOf('${{ parameters.nobody }}', false, DATA)).toEqual({ kind: 'missing', path: 'parameters.nobody' });
    expect(previewOf('${{ parameters.n + 1 }}', false, DATA)).toEqual({ kind: 'computed' });
    expect(previewOf('parameters.n > 1', true, DATA)).toEqual({ kind: 'computed' });
    expect(previewOf('just words', false, DATA)).toEqual({ kind: 'plain' });
    expect(valueOf('parameters.constructor', DATA)).toBeUndefined();
  });
});

describe('suggestions', () => {
  const paths = (typed: string) => suggest(typed, REFERENCES, DATA).map((each) => each.path);

  it('begin with what may be seen, by any part of its name', () => {
    expect(paths('par')).toEqual(['parameters.who', 'parameters.n']);
    expect(paths('fetch')).toEqual(['components.fetch.output', 'components.fetch.status', 'components.fetch.error', 'components.fetch.attempts']);
    expect(paths('')).toHaveLength(7);
  });

  it('go on with what the last execution had there, and not with what may not be seen', () => {
    expect(paths('components.fetch.output.')).toEqual(['components.fetch.output.status', 'components.fetch.output.body']);
    expect(paths('components.fetch.output.body.')).toEqual([
      'components.fetch.output.body.total',
      "components.fetch.output.body['odd key']",
      'components.fetch.output.body.lines',
    ]);
    expect(paths('components.fetch.output.body.lines.')).toEqual(['components.fetch.output.body.lines[0]', 'components.fetch.output.body.lines[1]']);
    expect(paths('components.later.output.')).toEqual([]);
    expect(suggest('parameters.n', REFERENCES, undefined)).toEqual([]);
  });

  it('show what each stood for', () => {
    expect(suggest('parameters.w', REFERENCES, DATA)).toEqual([{ path: 'parameters.who', last: 'Ada' }]);
    expect(brief('x'.repeat(80))).toHaveLength(60);
  });
});

describe('the source', () => {
  it('knows where expressions are on a line', () => {
    expect(writtenAt('    when: components.fetch.out', 30)).toBe('components.fetch.out');
    expect(writtenAt('    message: components.fetch', 29)).toBeUndefined();
    expect(writtenAt('    message: ${{ components.f }}', 29)).toBe(' components.f');
  });

  it('finds the reference under the pointer, and no other words', () => {
    const line = 'message: Hello ${{ parameters.who | upper }}';
    expect(referenceAround(line, 25)).toEqual({ from: 19, to: 33, path: 'parameters.who' });
    expect(referenceAround(line, 11)).toBeUndefined();
    expect(referenceAround('see parameters.who', 8)).toBeUndefined();
  });
});
