import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { blank, branchOf, classify, readAny, showAny, type JsonSchema } from './schema';
import { check } from './validate';

const components = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../docs/reference/components.json', import.meta.url)), 'utf8'),
) as { type: string; example: unknown; schema: JsonSchema }[];

describe('classify', () => {
  it.each<[string, JsonSchema, string]>([
    ['a text', { type: 'string' }, 'text'],
    ['a text that may be absent', { type: ['string', 'null'] }, 'text'],
    ['a number', { type: 'integer', minimum: 1 }, 'number'],
    ['yes or no', { type: 'boolean' }, 'boolean'],
    ['an enumeration', { enum: ['a', 'b'] }, 'choice'],
    ['constants', { oneOf: [{ const: 'a' }, { const: 'b', description: 'x' }] }, 'choice'],
    ['a reference that may be absent', { anyOf: [{ $ref: '#/$defs/Mode' }, { type: 'null' }] }, 'choice'],
    ['all of a single one', { allOf: [{ $ref: '#/$defs/Mode' }], default: 'x' }, 'choice'],
    ['a list', { type: 'array', items: { type: 'string' } }, 'list'],
    ['a record', { type: 'object', properties: { a: {} } }, 'record'],
    ['a map', { type: 'object', additionalProperties: { type: 'number' } }, 'map'],
    ['several forms', { anyOf: [{ type: 'integer' }, { type: 'string' }] }, 'either'],
    ['anything', {}, 'any'],
    ['an expression', { description: 'A bare expression.' }, 'text'],
  ])('%s', (_, schema, kind) => {
    const root: JsonSchema = { $defs: { Mode: { oneOf: [{ const: 'x', type: 'string' }, { const: 'y', type: 'string' }] } } };
    expect(classify(schema, root).kind).toBe(kind);
  });

  it('keeps what a reference says itself over what it points to', () => {
    const root: JsonSchema = { $defs: { A: { type: 'string', description: 'far' } } };
    expect(classify({ $ref: '#/$defs/A', description: 'near' }, root)).toMatchObject({ kind: 'text', description: 'near' });
  });

  it('bears references in circles and to nothing', () => {
    expect(classify({ $ref: '#/$defs/A' }, { $defs: { A: { $ref: '#/$defs/A' } } }).kind).toBe('any');
    expect(classify({ $ref: '#/$defs/B' }, {}).kind).toBe('any');
  });
});

describe('every component type there is', () => {
  it.each(components.map(({ type, example, schema }) => ({ type, example, schema })))('$type: its example fits its form', ({ example, schema }) => {
    expect(check(schema, example)).toEqual([]);
    expect(['record', 'map', 'any']).toContain(classify(schema, schema).kind);
    const walk = (each: JsonSchema, value: unknown, depth: number): void => {
      const field = classify(each, schema);
      if (field.kind === 'record' && depth < 6) {
        for (const [name, inner] of Object.entries(field.properties)) walk(inner, (value as Record<string, unknown> | undefined)?.[name], depth + 1);
      } else if (field.kind === 'either') {
        const branch = field.branches[branchOf(value, field.branches, schema)];
        expect(branch?.label).toBeTruthy();
      }
      expect(() => blank(each, schema)).not.toThrow();
    };
    walk(schema, example, 0);
  });
});

describe('any value as text', () => {
  it.each<[unknown]>([
    ['plain'],
    ['${{ components.a.output }}'],
    ["${{ {'a': 1} }}"],
    ['a: b'],
    ['12'],
    ['true'],
    [''],
    [' padded '],
    ['- not a list'],
    [12],
    [true],
    [null],
    [[1, 'two', { three: 3 }]],
    [{ a: '${{ x }}', b: ['c'] }],
    ['two\nlines'],
  ])('%j is read back as it was', (value) => {
    if (value === '') expect(readAny(showAny(value)).value).toBe('');
    else expect(readAny(showAny(value))).toEqual({ value });
  });

  it('says why a text is no value', () => {
    expect(readAny('[a').mistake).toBeTruthy();
  });
});

describe('check', () => {
  const schema: JsonSchema = {
    type: 'object',
    required: ['name', 'count'],
    properties: { name: { type: 'string', minLength: 1 }, count: { type: 'integer', minimum: 1 } },
  };
  it('names each field that is wrong', () => {
    const mistakes = check(schema, { count: 0 });
    expect(mistakes).toContainEqual({ path: ['name'], message: 'Is needed.' });
    expect(mistakes.some((mistake) => mistake.path.join() === 'count')).toBe(true);
    expect(check(schema, { name: 'a', count: 2 })).toEqual([]);
  });
});
