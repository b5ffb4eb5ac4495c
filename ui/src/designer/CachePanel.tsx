
import type { ComponentType } from '../api/client';
import type { Component } from '../model/document';
import { SchemaForm } from '../schema-form/SchemaForm';
import type { JsonSchema } from '../schema-form/schema';
import { Icon } from '../ui/Icon';
import { Switch } from '../ui/Switch';
import { cacheFrom, cacheOf, cacheRefusal, cacheSentence, type Cache } from './cache';

/** Whether what a component gave is used again, for which key, and how long. */
export default function CachePanel({
  component,
  type,
  schema,
  references,
  mistakes,
  onChange,
}: {
  component: Component;
  type: ComponentType | undefined;
  schema: JsonSchema;
  references: string[];
  mistakes: { path: string[]; message: string }[];
  onChange: (cache: Cache | undefined) => void;
}) {
  const cache = cacheOf(component) ?? {};
  const isOn = component.fields['cache'] !== undefined;
  const refusal = cacheRefusal(component, type);
  const own = mistakes.filter(({ path }) => path.length === 0);
  // Each field is a form of its own: a key is computed, a time is not.
  const part = (name: string): JsonSchema => ({
    type: 'object',
    properties: { [name]: schema.$defs?.['cache']?.properties?.[name] ?? {} },
    ...(schema.$defs && { $defs: schema.$defs }),
  });
  const change = (value: unknown) => onChange(cacheFrom(value));
  return (
    <section className="cache" aria-label="Cache">
      <Switch
        size="xs"
        label="Use results again"
        description={isOn ? cacheSentence(cache) : (refusal ?? 'Instead of running it once more for the same input.')}
        checked={isOn}
        disabled={refusal !== undefined && !isOn}
        onChange={(event) => onChange(event.currentTarget.checked ? {} : undefined)}
      />
      {own.map(({ message }) => (
        <p key={message} className="field-mistake" role="alert">
          <Icon name="alert" size={12} /> {message}
        </p>
      ))}
      {isOn && (
        <div className="nested">
          <SchemaForm schema={part('key')} value={cache} onChange={change} references={references} mistakes={mistakes} />
          <SchemaForm schema={part('ttl')} value={cache} onChange={change} mistakes={mistakes} />
        </div>
      )}
    </section>
  );
}
