import { expect, it } from 'vitest';

import { see } from '../api/live';
import type { Mistake, Progress } from '../api/client';
import type { TriedComponent } from '../api/try';
import { read } from '../model/document';
import { before, draftOf, pinOfDraft, pinsFor, refusals, standings } from './tries';

const { workflow } = read(`workflow: v1
name: order
components:
  fetch: { type: noop }
  large: { type: decision, needs: [fetch] }
  beside: { type: noop, needs: [fetch] }
  box:
    type: group
    needs: [large.true]
    components:
      one: { type: noop }
      two: { type: noop, needs: [one] }
  ship: { type: noop, needs: [box, gone] }
`);

it('before a component stands what it needs, and what its containers need', () => {
  expect([...before(workflow, 'ship')].sort()).toEqual(['box', 'fetch', 'large']);
  expect([...before(workflow, 'two')].sort()).toEqual(['fetch', 'large', 'one']);
  expect(before(workflow, 'fetch').size).toBe(0);
  expect(before(workflow, 'nobody').size).toBe(0);
});

it('a circle of connections ends', () => {
  const circle = read('workflow: v1\nname: c\ncomponents:\n  a: { type: noop, needs: [b] }\n  b: { type: noop, needs: [a] }\n').workflow;
  expect([...before(circle, 'a')]).toEqual(['b']);
});

it('pins of what comes later, or is the component itself, are not sent', () => {
  const pins = { ship: { output: 1 }, beside: { output: 2 }, fetch: { output: 3 }, gone: { output: 4 } };
  expect(pinsFor(workflow, 'ship', pins)).toEqual({ fetch: { output: 3 } });
  expect(pinsFor(workflow, 'fetch', pins)).toEqual({});
});

const plan = (fates: Record<string, TriedComponent['fate']>): TriedComponent[] => Object.entries(fates).map(([component, fate]) => ({ component, fate, sentence: '' }));
const component = (id: string, state: string, attempt = 1) => ({ component: id, state, attempt });
const sight = (...components: ReturnType<typeof component>[]) =>
  see(undefined, 'snapshot', { at: '', components, execution: 'e', failing: false, progress: 0, seq: 1, settled: 0, status: 'running', total: 3 } as Progress);

it('only what a try is about has a status', () => {
  const seen = standings(
    plan({ fetch: 'pinned', large: 'runs', box: 'runs', beside: 'left_out', ship: 'left_out' }),
    workflow,
    sight(component('fetch', 'carried'), component('large', 'running', 2), component('one', 'ready'), component('ship', 'skipped')),
  );
  expect(Object.fromEntries([...seen].map(([id, each]) => [id, each.state]))).toEqual({ fetch: 'pinned', large: 'running', box: 'waiting', one: 'ready' });
  expect(seen.get('large')?.note).toBe('attempt 2');
});

it('what stands in a pinned container has no status', () => {
  expect([...standings(plan({ box: 'pinned', ship: 'runs' }), workflow, undefined).keys()]).toEqual(['box', 'ship']);
});

it('a pin is edited as JSON, and stays what it was when nothing is changed', () => {
  for (const pin of [{ output: { a: [1, null] }, ports: ['true'] }, { output: null }, { error: { class: 'user.sum', message: 'no' } }]) {
    expect(pinOfDraft(draftOf(pin))).toEqual({ pin });
  }
  expect(pinOfDraft(draftOf(undefined)).mistake).toMatch(/such as/);
  expect(pinOfDraft({ ...draftOf(undefined), text: '{"a": }' }).mistake).toMatch(/not JSON/);
  expect(pinOfDraft({ ...draftOf(undefined), kind: 'error', class: 'No Class' }).mistake).toMatch(/class/);
});

it('a refusal names the component, however its place is written', () => {
  const mistake = (path: string[], message: string, suggestion?: string) => ({ path, message, severity: 'error', ...(suggestion && { suggestion }) }) as Mistake;
  expect(
    refusals([mistake(['fetch'], 'has no data'), mistake(['components', 'box', 'components', 'two', 'type'], 'is not known', 'noop?'), mistake(['name'], 'is missing')], workflow),
  ).toEqual([
    { component: 'fetch', message: 'has no data' },
    { component: 'two', message: 'is not known (noop?)' },
    { component: undefined, message: 'is missing' },
  ]);
});
