import type { ComponentType } from '../api/client';
import type { Component } from '../model/document';

export interface Cache {
  key?: unknown;
  ttl?: unknown;
}

/** Why what a component gives cannot be used again; undefined when it can. The server checks the same, and has the last word. */
export function cacheRefusal(component: Pick<Component, 'fields'>, type: ComponentType | undefined): string | undefined {
  if (type && type.runs !== 'worker') return 'Only what a worker runs can be used again.';
  if (component.fields['delivery'] === 'at_most_once') return 'What is delivered at most once acts each time.';
  if (component.fields['compensate'] !== undefined) return 'What can be undone acts each time.';
  return undefined;
}

/** The `cache` of a component, when it has one: `{}` is one, and means that its config says everything. */
export function cacheOf(component: Pick<Component, 'fields'>): Cache | undefined {
  const value = component.fields['cache'];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

/** What is kept in the document when a form gives this: what is left out is gone, and nothing at all is still a cache. */
export function cacheFrom(value: unknown): Cache {
  const { key, ttl } = (value ?? {}) as Cache;
  return { ...(key !== undefined && { key }), ...(ttl !== undefined && ttl !== '' && { ttl }) };
}

/** What is used again for how long, in a sentence. */
export function cacheSentence({ key, ttl }: Cache): string {
  const same = key === undefined ? 'the same settings' : 'the same key';
  return `What it gave for ${same} is used again for ${typeof ttl === 'string' ? ttl : '1d'}, by every execution of this workflow.`;
}
