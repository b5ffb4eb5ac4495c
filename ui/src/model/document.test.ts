import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import {
  addComponents,
  componentAt,
  connect,
  connectionMistake,
  copy,
  disconnect,
  EMPTY,
  freeId,
  idMistake,
  lineOf,
  moveTo,
  paste,
  read,
  removeComponents,
  rename,
  setField,
  setPositions,
  setWorkflowField,
  type Workflow,
} from './document';

const ORDER = `# How an order goes.
workflow: v1
name: order
components:
  fetch: # from the shop
    type: http_request
    config: { method: GET, url: 'https://shop.example/\${{ parameters.id }}' }
  large:
    type: decision
    needs: [fetch]
    config:
      # In cents.
      condition: components.fetch.output.body.total > 10000
  review:
    type: approval
    needs: [large.true]
    config: { assignees: [finance] }
  ship:
    type: http_request
    needs: [large.false, review.approved]
    join: any
    config:
      body: \${{ components.fetch.output.body }}
  each:
    type: loop
    needs: [ship]
    config: { items: [1, 2] }
    components:
      pack: { type: noop }
      send: { type: noop, needs: [pack] }
`;

const example = (name: string) => readFileSync(fileURLToPath(new URL(`../../../examples/${name}.yaml`, import.meta.url)), 'utf8');
const component = (workflow: Workflow, id: string) => {
  const found = workflow.components.get(id);
  if (!found) throw new Error(`there is no ${id}`);
  return found;
};

describe('reading', () => {
  it('finds components in containers, their connections and scopes', () => {
    const { workflow, mistake } = read(ORDER);
    expect(mistake).toBeUndefined();
    expect([...workflow.components.keys()]).toEqual(['fetch', 'large', 'review', 'ship', 'each', 'pack', 'send']);
    expect(workflow.connections).toContainEqual({ from: 'large', port: 'false', to: 'ship' });
    expect(component(workflow, 'send').scope).toEqual({ parent: 'each', name: 'components' });
    expect(component(workflow, 'send').path).toEqual(['components', 'each', 'components', 'send']);
    expect(component(workflow, 'ship').join).toBe('any');
  });

  it('says where a text stops being YAML', () => {
    const { mistake } = read('workflow: v1\nname: [a\ncomponents: {}\n');
    expect(mistake?.line).toBeGreaterThan(1);
  });

  it('bears texts that are no workflows', () => {
    for (const text of ['', '3', '- a', 'components: 4', 'components: { a: 3, b: { needs: 7 } }', 'layout: { a: [1] }']) {
      expect(read(text).workflow.connections).toEqual([]);
    }
  });
});

describe('edits', () => {
  it('keep comments and the order of everything else', () => {
    const { workflow } = read(ORDER);
    const text = setField(ORDER, component(workflow, 'large'), 'config', { condition: 'true' });
    expect(text).toContain('# How an order goes.');
    expect(text).toContain('# from the shop');
    expect(text).toContain('# In cents.');
    expect(text).toContain('condition: "true"');
    expect(read(text).workflow.components.get('large')?.config).toEqual({ condition: 'true' });
    expect([...read(text).workflow.components.keys()]).toEqual([...workflow.components.keys()]);
  });

  it('change nothing in a text that is not YAML', () => {
    const broken = 'components: [a\n';
    expect(setWorkflowField(broken, 'name', 'x')).toBe(broken);
  });

  it.each(['hello', 'order', 'etl'])('of the example %s change what they are meant to and nothing else', (name) => {
    const before = example(name);
    const { workflow } = read(before);
    const first = [...workflow.components.values()][0]!;
    const text = setField(before, first, 'title', 'Renamed');
    const after = read(text).workflow;
    expect(after.components.get(first.id)?.title).toBe('Renamed');
    expect({ ...after.fields, components: undefined }).toEqual({ ...workflow.fields, components: undefined });
    for (const other of [...workflow.components.values()].slice(1)) expect(after.components.get(other.id)?.fields).toEqual(other.fields);
    const comments = (each: string) => each.split('\n').filter((line) => line.startsWith('#'));
    expect(comments(text)).toEqual(comments(before));
    // Taking it back gives the very text of the first edit without it: edits settle.
    const back = setField(text, component(after, first.id), 'title', undefined);
    expect(read(back).workflow.fields).toEqual(workflow.fields);
  });

  it('build a workflow from an empty canvas', () => {
    let text = EMPTY;
    const top = { parent: null, name: 'components' as const };
    text = addComponents(text, read(text).workflow, top, [{ id: 'a', type: 'noop', position: [10.4, 20.6] }]);
    text = addComponents(text, read(text).workflow, top, [{ id: 'b', type: 'decision', config: { condition: 'true' }, needs: ['a'] }]);
    text = addComponents(text, read(text).workflow, top, [{ id: 'c', type: 'log', config: { message: 'x' } }]);
    text = connect(text, read(text).workflow, { from: 'b', port: 'true', to: 'c' });
    expect(text).toBe(`workflow: v1
name: untitled
components:
  a:
    type: noop
  b:
    type: decision
    needs: [ a ]
    config:
      condition: "true"
  c:
    type: log
    needs: [ b.true ]
    config:
      message: x
layout:
  a: [ 10, 21 ]
`);
  });

  it('connect and disconnect', () => {
    const { workflow } = read(ORDER);
    const cut = disconnect(ORDER, workflow, [{ from: 'large', port: 'false', to: 'ship' }]);
    expect(component(read(cut).workflow, 'ship').needs).toEqual([{ id: 'review', port: 'approved' }]);
    const all = disconnect(cut, read(cut).workflow, [{ from: 'review', port: 'approved', to: 'ship' }]);
    expect(component(read(all).workflow, 'ship').fields).not.toHaveProperty('needs');
  });

  it('refuse circles, other scopes, and what is there already', () => {
    const { workflow } = read(ORDER);
    const why = (from: string, port: string, to: string) => connectionMistake(workflow, { from, port, to });
    expect(why('ship', 'success', 'fetch')).toMatch(/circle/);
    expect(why('fetch', 'success', 'fetch')).toMatch(/itself/);
    expect(why('pack', 'success', 'ship')).toMatch(/container/);
    expect(why('fetch', 'success', 'large')).toMatch(/already/);
    expect(why('fetch', 'error', 'large')).toBeUndefined();
  });

  it('remove a container with all it holds, its places, and connections from it', () => {
    const laid = setPositions(ORDER, [
      ['each', [1, 2]],
      ['pack', [3, 4]],
      ['ship', [5, 6]],
    ]);
    const text = removeComponents(laid, read(laid).workflow, ['each', 'large']);
    const { workflow } = read(text);
    expect([...workflow.components.keys()]).toEqual(['fetch', 'review', 'ship']);
    expect(workflow.layout).toEqual({ ship: [5, 6] });
    expect(component(workflow, 'review').needs).toEqual([]);
    expect(component(workflow, 'ship').needs).toEqual([{ id: 'review', port: 'approved' }]);
  });

  it('rename a component wherever it is named', () => {
    const laid = setPositions(ORDER, [['fetch', [1, 2]]]);
    const text = rename(laid, read(laid).workflow, 'fetch', 'load');
    const { workflow } = read(text);
    expect(workflow.components.has('fetch')).toBe(false);
    expect(component(workflow, 'large').needs).toEqual([{ id: 'load', port: 'success' }]);
    expect(component(workflow, 'large').config).toEqual({ condition: 'components.load.output.body.total > 10000' });
    expect(component(workflow, 'ship').config).toEqual({ body: '${{ components.load.output.body }}' });
    expect(workflow.layout).toEqual({ load: [1, 2] });
    expect([...workflow.components.keys()][0]).toBe('load');
    expect(text).toContain('# from the shop');
  });

  it('rename a component to an id whose place was left behind', () => {
    const text = 'components:\n  b: { type: noop }\nlayout:\n  a: [1, 2]\n  b: [3, 4]\n';
    expect(read(rename(text, read(text).workflow, 'b', 'a'))).toMatchObject({ mistake: undefined, workflow: { layout: { a: [3, 4] } } });
  });

  it('leave longer names alone when they rename', () => {
    const text = 'components:\n  a: { type: noop }\n  b: { type: log, needs: [a], config: { message: "${{ components.a2.output }} ${{ components.a.output }}" } }\n  a2: { type: noop }\n';
    const renamed = read(rename(text, read(text).workflow, 'a', 'z')).workflow;
    expect(component(renamed, 'b').config).toEqual({ message: '${{ components.a2.output }} ${{ components.z.output }}' });
  });

  it('rename a racer, which is a port of its race', () => {
    const text = 'components:\n  r:\n    type: race\n    components: { x: { type: noop }, y: { type: noop } }\n  after: { type: noop, needs: [r.x] }\n';
    expect(component(read(rename(text, read(text).workflow, 'x', 'q')).workflow, 'after').needs).toEqual([{ id: 'r', port: 'q' }]);
  });

  it('move into a container: what led to and from it leads to and from the container', () => {
    const { workflow } = read(ORDER);
    const moved = moveTo(ORDER, workflow, ['ship'], { parent: 'each', name: 'components' });
    expect(moved.gone).toHaveLength(3);
    expect(moved.made).toEqual([
      { from: 'large', port: 'false', to: 'each' },
      { from: 'review', port: 'approved', to: 'each' },
    ]);
    const after = read(moved.text).workflow;
    expect(component(after, 'ship').scope.parent).toBe('each');
    expect(component(after, 'ship').needs).toEqual([]);
    expect(component(after, 'each').needs).toEqual([
      { id: 'large', port: 'false' },
      { id: 'review', port: 'approved' },
    ]);
    expect(moved.text).toContain('# How an order goes.');
    expect(moved.text).toContain('# from the shop');
  });

  it('move out of a container: what followed inside is inside, so the order is that of the container', () => {
    const { workflow } = read(ORDER);
    const moved = moveTo(ORDER, workflow, ['send'], { parent: null, name: 'components' });
    expect(moved.gone).toEqual([{ from: 'pack', port: 'success', to: 'send' }]);
    expect(moved.made).toEqual([{ from: 'each', port: 'success', to: 'send' }]);
    const after = read(moved.text).workflow;
    expect(component(after, 'send').needs).toEqual([{ id: 'each', port: 'success' }]);
    // There and back is the order that was there, with the container in between gone again.
    const back = moveTo(moved.text, after, ['send'], { parent: 'each', name: 'components' });
    expect(back.made).toEqual([]);
    expect(component(read(back.text).workflow, 'send').needs).toEqual([]);
  });

  it('move what stands in the middle out, and close no circle by it', () => {
    const text = 'components:\n  g:\n    type: group\n    components:\n      a: { type: noop }\n      b: { type: noop, needs: [a] }\n      c: { type: noop, needs: [b] }\n';
    const moved = moveTo(text, read(text).workflow, ['b'], { parent: null, name: 'components' });
    expect(moved.gone).toHaveLength(2);
    expect(moved.made).toEqual([{ from: 'g', port: 'success', to: 'b' }]);
    expect(component(read(moved.text).workflow, 'g').needs).toEqual([]);
  });

  it('move several together with what connects them, and nothing into itself', () => {
    const { workflow } = read(ORDER);
    const moved = moveTo(ORDER, workflow, ['fetch', 'large'], { parent: 'each', name: 'components' });
    const after = read(moved.text).workflow;
    expect(component(after, 'large').needs).toEqual([{ id: 'fetch', port: 'success' }]);
    // `each` runs after `ship`, so neither `ship` nor what it needs can run after `each`.
    expect(moved.made).toEqual([]);
    expect(moveTo(ORDER, workflow, ['each'], { parent: 'each', name: 'components' })).toEqual({ text: ORDER, gone: [], made: [] });
  });

  it('copy and paste with new ids, in connections and expressions too', () => {
    const { workflow } = read(ORDER);
    const fragment = copy(ORDER, workflow, ['fetch', 'large']);
    const pasted = paste(ORDER, workflow, { parent: null, name: 'components' }, fragment);
    expect(pasted?.added).toEqual(['fetch_2', 'large_2']);
    const after = read(pasted!.text).workflow;
    expect(component(after, 'large_2').needs).toEqual([{ id: 'fetch_2', port: 'success' }]);
    expect(component(after, 'large_2').config).toEqual({ condition: 'components.fetch_2.output.body.total > 10000' });
    const elsewhere = paste(EMPTY, read(EMPTY).workflow, { parent: null, name: 'components' }, fragment);
    expect([...read(elsewhere!.text).workflow.components.keys()]).toEqual(['fetch', 'large']);
    expect(paste(EMPTY, read(EMPTY).workflow, { parent: null, name: 'components' }, 'just words')).toBeUndefined();
  });

  it('paste without connections to what is not there', () => {
    const { workflow } = read(ORDER);
    const fragment = copy(ORDER, workflow, ['review']);
    const elsewhere = read(paste(EMPTY, read(EMPTY).workflow, { parent: null, name: 'components' }, fragment)!.text).workflow;
    expect(component(elsewhere, 'review').needs).toEqual([]);
  });
});

describe('ids', () => {
  it('derive from types and are free', () => {
    expect(freeId('http_request', new Set())).toBe('http_request');
    expect(freeId('http_request', new Set(['http_request', 'http_request_2']))).toBe('http_request_3');
    expect(freeId('1 Weird-Name', new Set())).toBe('weird_name');
  });

  it('are checked as the server does', () => {
    const { workflow } = read(ORDER);
    expect(idMistake('Large', workflow, 'large')).toBeDefined();
    expect(idMistake('fetch', workflow, 'large')).toMatch(/taken/);
    expect(idMistake('large', workflow, 'large')).toBeUndefined();
  });
});

describe('source', () => {
  it('finds the line of a place and the component of a line', () => {
    const { workflow } = read(ORDER);
    expect(lineOf(ORDER, ['components', 'large'])).toBe(8);
    expect(lineOf(ORDER, ['components', 'large', 'config', 'condition'])).toBe(13);
    expect(lineOf(ORDER, ['components', 'nobody'])).toBe(4);
    expect(componentAt(ORDER, workflow, 13)).toBe('large');
    expect(componentAt(ORDER, workflow, 28)).toBe('each');
    expect(componentAt(ORDER, workflow, 30)).toBe('send');
    expect(componentAt(ORDER, workflow, 2)).toBeUndefined();
  });
});
