import { parseDocument, stringify } from 'yaml';

/** The part of JSON Schema (2020-12) that forms are drawn from. What is not here falls back to a field for any value. */
export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  format?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  oneOf?: JsonSchema[];
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
}

/** A schema made ready for drawing: what kind of field it is, and what that field needs to know. */
export type Field = { description?: string | undefined; default?: unknown; title?: string | undefined } & (
  | { kind: 'text'; format?: string | undefined; bare: boolean }
  | { kind: 'number'; integer: boolean; minimum?: number | undefined; maximum?: number | undefined }
  | { kind: 'boolean' }
  | { kind: 'choice'; choices: { value: unknown; description?: string | undefined }[] }
  | { kind: 'list'; items: JsonSchema }
  | { kind: 'record'; properties: Record<string, JsonSchema>; required: string[] }
  | { kind: 'map'; values: JsonSchema }
  | { kind: 'either'; branches: { label: string; schema: JsonSchema }[] }
  | { kind: 'any' }
);

/** Follows a `$ref` within the document, also the only one of an `allOf`; what the reference says itself stays over what it points to. */
export function resolve(schema: JsonSchema, root: JsonSchema, depth = 0): JsonSchema {
  if (depth > 20) return schema;
  const [only, ...others] = schema.allOf ?? [];
  if (only && others.length === 0) {
    const { allOf: _, ...own } = schema;
    return { ...resolve(only, root, depth + 1), ...own };
  }
  if (!schema.$ref) return schema;
  const name = /^#\/\$defs\/(.+)$/.exec(schema.$ref)?.[1];
  const target = name === undefined ? undefined : root.$defs?.[name];
  if (!target) return {};
  const { $ref: _, ...own } = schema;
  return { ...resolve(target, root, depth + 1), ...own };
}

const isNull = (schema: JsonSchema) => schema.type === 'null' || schema.const === null;

/** What a branch of several is called: its title, or what it holds. */
function label(schema: JsonSchema, root: JsonSchema): string {
  const whole = resolve(schema, root);
  if (whole.title) return whole.title;
  const field = classify(whole, root);
  switch (field.kind) {
    case 'record': {
      const names = Object.keys(field.properties);
      const fixed = names.find((name) => resolve(field.properties[name]!, root).const !== undefined);
      if (fixed !== undefined) return String(resolve(field.properties[fixed]!, root).const);
      return field.required[0] ?? names[0] ?? 'Object';
    }
    case 'choice':
      return field.choices.length === 1 ? String(field.choices[0]?.value) : 'Choice';
    case 'any':
      return 'Any value';
    default:
      return { text: 'Text', number: 'Number', boolean: 'Yes or no', list: 'List', map: 'Map', either: 'Other' }[field.kind];
  }
}

/** Says how a schema is drawn. */
export function classify(given: JsonSchema, root: JsonSchema): Field {
  const schema = resolve(given, root);
  const about = { description: schema.description, default: schema.default, title: schema.title };
  const bare = /\bbare expression\b/i.test(schema.description ?? '');

  if (schema.enum) return { ...about, kind: 'choice', choices: schema.enum.map((value) => ({ value })) };
  if (schema.const !== undefined) return { ...about, kind: 'choice', choices: [{ value: schema.const }] };
  const several = (schema.oneOf ?? schema.anyOf)?.filter((branch) => !isNull(resolve(branch, root)));
  if (several) {
    const whole = several.map((branch) => resolve(branch, root));
    if (whole.length > 0 && whole.every((branch) => branch.const !== undefined)) {
      return { ...about, kind: 'choice', choices: whole.map(({ const: value, description }) => ({ value, description })) };
    }
    if (whole.length === 1 && whole[0]) {
      const only = classify(whole[0], root);
      return { ...only, description: schema.description ?? only.description, default: schema.default ?? only.default };
    }
    return { ...about, kind: 'either', branches: several.map((branch) => ({ label: label(branch, root), schema: branch })) };
  }
  const types = (Array.isArray(schema.type) ? schema.type : schema.type ? [schema.type] : []).filter((type) => type !== 'null');
  if (types.length !== 1) return bare ? { ...about, kind: 'text', bare } : { ...about, kind: 'any' };
  switch (types[0]) {
    case 'string':
      return { ...about, kind: 'text', format: schema.format, bare };
    case 'integer':
    case 'number':
      return { ...about, kind: 'number', integer: types[0] === 'integer', minimum: schema.minimum, maximum: schema.maximum };
    case 'boolean':
      return { ...about, kind: 'boolean' };
    case 'array':
      return { ...about, kind: 'list', items: schema.items ?? {} };
    case 'object':
      if (schema.properties && Object.keys(schema.properties).length > 0) {
        return { ...about, kind: 'record', properties: schema.properties, required: schema.required ?? [] };
      }
      return {
        ...about,
        kind: 'map',
        values: typeof schema.additionalProperties === 'object' ? schema.additionalProperties : {},
      };
    default:
      return { ...about, kind: 'any' };
  }
}

/** Which branch of several a value belongs to; the first one when it belongs to none. */
export function branchOf(value: unknown, branches: { schema: JsonSchema }[], root: JsonSchema): number {
  if (value === undefined) return 0;
  const found = branches.findIndex(({ schema }) => fits(value, classify(schema, root), root));
  return Math.max(found, 0);
}

function fits(value: unknown, field: Field, root: JsonSchema): boolean {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  switch (field.kind) {
    case 'text':
      return typeof value === 'string';
    case 'number':
      return typeof value === 'number';
    case 'boolean':
      return typeof value === 'boolean';
    case 'choice':
      return field.choices.some((choice) => choice.value === value);
    case 'list':
      return Array.isArray(value);
    case 'map':
      return isObject;
    case 'record':
      return (
        isObject &&
        field.required.every((name) => name in value) &&
        Object.keys(value).every((name) => name in field.properties) &&
        Object.entries(field.properties).every(([name, schema]) => {
          const fixed = resolve(schema, root).const;
          return fixed === undefined || !(name in value) || (value as Record<string, unknown>)[name] === fixed;
        })
      );
    case 'either':
      return field.branches.some(({ schema }) => fits(value, classify(schema, root), root));
    case 'any':
      return true;
  }
}

/** Whether a value is computed when the execution gets there. */
export function isExpression(value: unknown): value is string {
  return typeof value === 'string' && value.includes('${{');
}

const isWhole = (text: string) => text.startsWith('${{') && text.endsWith('}}');

/** Any value as text that [readAny] reads back as the same value. */
export function showAny(value: unknown): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return readAny(value).value === value ? value : JSON.stringify(value);
  return stringify(value, { lineWidth: 0 }).trimEnd();
}

/** Reads text as a value, as it would be read in the document: YAML, or one whole expression. */
export function readAny(text: string): { value?: unknown; mistake?: string } {
  const trimmed = text.trim();
  if (trimmed === '') return { value: undefined };
  if (isWhole(trimmed)) return { value: trimmed };
  const document = parseDocument(text, { prettyErrors: false, version: '1.2' });
  const error = document.errors[0];
  if (error) return { mistake: error.message };
  return { value: document.toJS() as unknown };
}

/** What a new item of a list, or a new value of a map, begins as. */
export function blank(schema: JsonSchema, root: JsonSchema): unknown {
  const field = classify(schema, root);
  if (field.default !== undefined && field.default !== null) return field.default;
  switch (field.kind) {
    case 'number':
      return field.minimum ?? 0;
    case 'boolean':
      return false;
    case 'choice':
      return field.choices[0]?.value;
    case 'list':
      return [];
    case 'map':
      return {};
    case 'record':
      return Object.fromEntries(field.required.map((name) => [name, blank(field.properties[name] ?? {}, root)]));
    case 'either':
      return field.branches[0] ? blank(field.branches[0].schema, root) : '';
    default:
      return '';
  }
}
