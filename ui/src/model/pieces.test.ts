import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { addComponents, connect, EMPTY, moveTo, read, removeComponents, rename, setField, setPositions } from './document';
import { compose, seed } from './pieces';
import { merged, newest, restored, Shared } from './shared';

const ORDER = `# How an order goes.
workflow: v1
name: order

parameters:
  order_id: { type: string, required: true } # from the shop
components:
    # First of all.
    fetch: # it
        type: http_request
        config:
            method: GET
            # Where it is.
            url: https://shop.example/\${{ parameters.order_id }}
            headers:
              - a
              # between
              - b
  # Then.
    large:
        type: decision
        needs: [fetch]
        config: { condition: "components.fetch.output.body.total > 10000" }

    each:
        type: foreach
        needs:
          - large.true
        components:
          script:
            type: script
            config:
              code: |
                # not a comment
                  deeper

                end
          "quoted": { type: noop, needs: [script] }
on_failure:
  tell: { type: log, config: { message: "it failed" } }
layout:
  fetch: [1, 2]
  # at the end
`;

const examples = fileURLToPath(new URL('../../../examples/', import.meta.url));
const EXAMPLES = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.yaml'));
const top = { parent: null, name: 'components' as const };
const value = (text: string) => read(text).workflow.fields;

describe('cutting', () => {
  it('gives the very text back', () => {
    expect(compose(seed(ORDER)).text).toBe(ORDER);
    expect([...compose(seed(ORDER)).keys]).toEqual(['each', 'fetch', 'large', 'quoted', 'script', 'tell'].map((id) => [id, id]));
  });

  it.each(EXAMPLES)('of %s loses nothing', (name) => {
    const text = readFileSync(examples + name, 'utf8');
    const { text: again } = compose(seed(text));
    expect(again).toBe(text);
  });

  it.each([
    ['', ''],
    ['3\n', '3\n'],
    ['- a\n', '- a\n'],
    ['a: &x 1\nb: *x\n', 'a: &x 1\nb: *x\n'],
    ['--- # a\na: 1\n', '--- # a\na: 1\n'],
    ['a: [b\n', 'a: [b\n'],
    ['? a\n: b\n', '? a\n: b\n'],
    ['a: 1', 'a: 1\n'],
    ['a: 1\r\nb:\r\n  c: 2\r\n', 'a: 1\nb:\n  c: 2\n'],
    ['a:\n- x\n- y\n# end\n', 'a:\n- x\n- y\n# end\n'],
    ['a: |+\n  x\n\nb: 1\n', 'a: |+\n  x\n\nb: 1\n'],
    ['a:\n  # nothing\nb: "x\n  # y"\n', 'a:\n  # nothing\nb: "x\n  # y"\n'],
    ['a:\n  - |\n    # text\n  - \nb: 1\n', 'a:\n  - |\n    # text\n  - \nb: 1\n'],
  ])('of %j gives %j', (text, expected) => {
    const { text: again } = compose(seed(text));
    expect(again).toBe(expected);
    expect(value(again)).toEqual(value(text));
  });

  it('writes lists of components as blocks, in JSON too', () => {
    const json = JSON.stringify({ workflow: 'v1', components: { a: { type: 'noop' }, b: { type: 'group', components: { c: { type: 'noop' } } } } });
    const { text, keys } = compose(seed(json));
    expect([...keys.keys()]).toEqual(['a', 'b', 'c']);
    expect(value(text)).toEqual(JSON.parse(json));
  });
});

type Make = ((text: string) => string) & { isDrawn?: boolean };

/** Two people who begin with one text, and change it apart from each other. */
function two(text: string, first: Make, second: Make) {
  const a = new Shared(text);
  const b = new Shared(text);
  const [fromA, fromB]: [unknown[], unknown[]] = [[], []];
  a.onChange = (changed) => fromA.push(...changed);
  b.onChange = (changed) => fromB.push(...changed);
  expect(a.put(first(text), text, { now: 0, label: 'first', isDrawn: first.isDrawn ?? false })).toBe(true);
  expect(b.put(second(text), text, { now: 0, label: 'second', isDrawn: second.isDrawn ?? false })).toBe(true);
  // Where both wrote the same register, b's write counts.
  const written = new Set((fromB as [string][]).map(([name]) => name));
  b.receive((fromA as [string, string][]).filter(([name]) => !written.has(name)));
  a.receive(fromB as [string, string][]);
  expect(a.text).toBe(b.text);
  expect(read(a.text).mistake).toBeUndefined();
  return { a, b, workflow: read(a.text).workflow };
}

const edit = (make: (text: string, workflow: ReturnType<typeof read>['workflow']) => string): Make => Object.assign((text: string) => make(text, read(text).workflow), { isDrawn: true });
const field = (id: string, name: string, set: unknown) => edit((text, workflow) => setField(text, workflow.components.get(id)!, name, set));

describe('merging', () => {
  it('keeps edits of different fields of one component', () => {
    const { workflow, a } = two(ORDER, field('large', 'title', 'Large?'), field('large', 'timeout', '5s'));
    expect(workflow.components.get('large')?.fields).toMatchObject({ title: 'Large?', timeout: '5s' });
    expect(a.text).toContain('# Where it is.');
  });

  it('keeps edits of different settings below one field', () => {
    const { workflow } = two(
      ORDER,
      (text) => text.replace('method: GET', 'method: POST'),
      (text) => text.replace('shop.example', 'store.example'),
    );
    expect(workflow.components.get('fetch')?.config).toMatchObject({ method: 'POST', url: 'https://store.example/${{ parameters.order_id }}' });
  });

  it('takes one of two edits of one line, and not half of each', () => {
    const { workflow } = two(ORDER, (text) => text.replace('method: GET', 'method: POST'), (text) => text.replace('method: GET', 'method: DELETE'));
    expect(workflow.components.get('fetch')?.config).toMatchObject({ method: 'DELETE' });
  });

  it('lets a deletion hold against an edit of what it deletes', () => {
    const { workflow } = two(ORDER, edit((text, each) => removeComponents(text, each, ['each'])), field('script', 'title', 'Written'));
    expect(workflow.components.has('each')).toBe(false);
    expect(workflow.components.has('script')).toBe(false);
  });

  it('takes connections from what was deleted away', () => {
    const { workflow } = two(
      ORDER,
      edit((text, each) => removeComponents(text, each, ['fetch'])),
      edit((text, each) => connect(text, each, { from: 'fetch', port: 'error', to: 'each' })),
    );
    expect(workflow.components.get('each')?.needs).toEqual([{ id: 'large', port: 'true' }]);
    expect(workflow.components.get('large')?.needs).toEqual([]);
  });

  it('keeps both of two connections into one component', () => {
    const text = 'workflow: v1\ncomponents:\n  a: { type: noop }\n  b: { type: noop }\n  c:\n    type: noop\n';
    const { workflow } = two(
      text,
      edit((now, each) => connect(now, each, { from: 'a', port: 'success', to: 'c' })),
      edit((now, each) => connect(now, each, { from: 'b', port: 'error', to: 'c' })),
    );
    expect(new Set(workflow.components.get('c')?.needs.map((each) => `${each.id}.${each.port}`))).toEqual(new Set(['a.success', 'b.error']));
  });

  it('lets connections follow a renamed component', () => {
    const { workflow } = two(
      ORDER,
      edit((text, each) => rename(text, each, 'fetch', 'load')),
      edit((text, each) => connect(text, each, { from: 'fetch', port: 'error', to: 'each' })),
    );
    expect(workflow.components.get('each')?.needs).toContainEqual({ id: 'load', port: 'error' });
    expect(workflow.layout['load']).toEqual([1, 2]);
  });

  it('gives another id to one of two components that were added under the same', () => {
    const add = (title: string) => edit((text, each) => addComponents(text, each, top, [{ id: 'log', type: 'log', fields: { title } }]));
    const { workflow } = two(EMPTY, add('one'), add('two'));
    expect(new Set([...workflow.components.values()].map((each) => each.title))).toEqual(new Set(['one', 'two']));
    expect(new Set(workflow.components.keys())).toEqual(new Set(['log', 'log_2']));
  });

  it('puts what was moved into a deleted container beside it', () => {
    const { workflow } = two(
      ORDER,
      edit((text, each) => removeComponents(text, each, ['each'])),
      edit((text, each) => moveTo(text, each, ['large'], { parent: 'each', name: 'components' }).text),
    );
    expect(workflow.components.get('large')?.scope).toEqual(top);
  });

  it('cuts two containers apart that were put into each other', () => {
    const text = 'workflow: v1\ncomponents:\n  g:\n    type: group\n    components: {}\n  h:\n    type: group\n    components: {}\n';
    const { workflow } = two(
      text,
      edit((now, each) => moveTo(now, each, ['g'], { parent: 'h', name: 'components' }).text),
      edit((now, each) => moveTo(now, each, ['h'], { parent: 'g', name: 'components' }).text),
    );
    expect(workflow.components.get('g')?.scope).toEqual(top);
    expect(workflow.components.get('h')?.scope.parent).toBe('g');
  });

  it('keeps an edit of what is moved into a container meanwhile, with its indentation', () => {
    const { workflow } = two(
      ORDER,
      edit((text, each) => moveTo(text, each, ['fetch'], { parent: 'each', name: 'components' }).text),
      (text) => text.replace('method: GET', 'method: PUT'),
    );
    expect(workflow.components.get('fetch')?.scope.parent).toBe('each');
    expect(workflow.components.get('fetch')?.config).toMatchObject({ method: 'PUT', headers: ['a', 'b'] });
  });

  it('keeps what others did since the text that is edited was shown', () => {
    const a = new Shared(ORDER);
    a.receive([...seed(ORDER.replace('name: order', 'name: other'))]);
    expect(a.text).toContain('name: other');
    a.put(ORDER.replace('type: decision', 'type: switch'), ORDER, { now: 0, label: 'type' });
    expect(a.text).toContain('name: other');
    expect(a.text).toContain('type: switch');
  });

  it('merges texts, and says when it cannot', () => {
    expect(merged(ORDER, ORDER.replace('GET', 'PUT'), ORDER.replace('10000', '20000'))).toBe(ORDER.replace('GET', 'PUT').replace('10000', '20000'));
    expect(merged(ORDER, 'a: [', ORDER)).toBeUndefined();
  });

  it('changes nothing for a text that is not YAML', () => {
    const a = new Shared(ORDER);
    expect(a.put('a: [', ORDER, { now: 0, label: 'x' })).toBe(false);
    expect(a.text).toBe(ORDER);
  });

  it('reads nothing that a faulty writer left', () => {
    const a = new Shared(EMPTY);
    a.receive([['@x', '["/components",1]'], ['/y', 'nothing'], ['@z', '[]'], ['@z:', '7'], ['/components>q', ''], ['', '']]);
    expect(a.text).toBe(EMPTY);
  });
});

describe('undo', () => {
  const title = (shared: Shared, set: string, now: number, about?: string) => {
    const { text } = shared;
    shared.put(setField(text, read(text).workflow.components.get('large')!, 'title', set), text, { now, label: 'title', about, isDrawn: true });
  };
  const of = (shared: Shared) => read(shared.text).workflow.components.get('large')?.title;

  it('goes back and forth, and takes typing into one field as one step', () => {
    const a = new Shared(ORDER);
    title(a, 'a', 0, 'large.title');
    title(a, 'ab', 400, 'large.title');
    title(a, 'abc', 5_000, 'large.title');
    a.undo();
    expect(of(a)).toBe('ab');
    a.undo();
    expect(of(a)).toBeUndefined();
    expect(a.see().canUndo).toBe(false);
    a.redo();
    a.redo();
    expect(of(a)).toBe('abc');
    a.undo();
    title(a, 'other', 9_000);
    expect(a.see().canRedo).toBe(false);
  });

  it("leaves others' edits alone", () => {
    const { a, b } = two(ORDER, field('large', 'title', 'mine'), field('fetch', 'title', 'theirs'));
    a.undo();
    expect(of(a)).toBeUndefined();
    expect(read(a.text).workflow.components.get('fetch')?.title).toBe('theirs');
    b.undo();
    expect(of(b)).toBe('mine');
    // What somebody else changed since is not taken back.
    const c = new Shared(ORDER);
    title(c, 'mine', 0);
    c.receive([...seed(ORDER.replace('type: decision\n', 'type: decision\n        title: theirs\n'))]);
    expect(c.undo()).toBe(false);
    expect(of(c)).toBe('theirs');
  });

  it('brings a deleted component back with all that is in it', () => {
    const a = new Shared(ORDER);
    a.put(removeComponents(ORDER, read(ORDER).workflow, ['each', 'fetch']), ORDER, { now: 0, label: 'delete', isDrawn: true });
    a.undo();
    expect(value(a.text)).toEqual(value(ORDER));
  });

  it('is kept over a reload', () => {
    const a = new Shared(ORDER);
    title(a, 'one', 0);
    title(a, 'two', 1);
    a.undo();
    const packed: unknown = JSON.parse(JSON.stringify(a.pack()));
    expect(restored(packed, ORDER)).toBeUndefined();
    const b = restored(packed, a.text)!;
    b.undo();
    expect(of(b)).toBeUndefined();
    b.redo();
    b.redo();
    expect(of(b)).toBe('two');
    expect(restored({ past: [3], future: [], registers: [] }, '')).toBeUndefined();
    expect(restored(null, '')).toBeUndefined();
  });

  it('keeps as many steps as there is room for, the newest', () => {
    const step = (label: string, size: number) => ({ label, changed: [['x', undefined, 'y'.repeat(size)]] as [string, undefined, string][] });
    expect(newest({ past: [step('one', 300_000), step('two', 300_000)], future: [] }).past.map((each) => each.label)).toEqual(['two']);
    const many = Array.from({ length: 80 }, (_, index) => step(`${index}`, 1));
    expect(newest({ past: many, future: [] }).past.map((each) => each.label)).toEqual(many.slice(-50).map((each) => each.label));
  });
});

describe('going on with what others have', () => {
  it('takes along what was changed here before', () => {
    const a = new Shared(ORDER);
    a.put(ORDER.replace('GET', 'PUT'), ORDER, { now: 0, label: 'method' });
    a.adopt(seed(ORDER.replace('name: order', 'name: theirs')), ORDER, { past: [], future: [] }, 1);
    expect(a.text).toContain('name: theirs');
    expect(a.text).toContain('method: PUT');
    a.undo();
    expect(a.text).toContain('method: GET');
  });

  it('places components without touching others', () => {
    const a = new Shared(ORDER);
    a.put(setPositions(ORDER, [['large', [5, 6]]]), ORDER, { now: 0, label: 'move', isDrawn: true });
    expect(a.text).toBe(ORDER.replace('fetch: [1, 2]', 'fetch: [1, 2]').replace('  # at the end', '  large: [ 5, 6 ]\n  # at the end'));
    a.undo();
    expect(a.text).toBe(ORDER);
  });
});
