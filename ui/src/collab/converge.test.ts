import { expect, it } from 'vitest';
import * as Y from 'yjs';

import {
  addComponents,
  connect,
  copy,
  disconnect,
  formatted,
  freeId,
  moveTo,
  paste,
  read,
  removeComponents,
  rename,
  setField,
  setPositions,
  setWorkflowField,
  type Scope,
} from '../model/document';
import { compose, seed } from '../model/pieces';
import { Shared } from '../model/shared';
import { bind, contentOf, firstState } from './replica';

/** Worlds that are tried, with about ten thousand edits in all. A world that fails names its number: `CONVERGE_FROM=<number> CONVERGE_WORLDS=1` shows it again. */
const WORLDS = Number(process.env['CONVERGE_WORLDS'] ?? 900);
const FROM = Number(process.env['CONVERGE_FROM'] ?? 1);

const BEGINNINGS = [
  'workflow: v1\nname: untitled\ncomponents: {}\n',
  `# Said first.
workflow: v1
name: small
components:
    # The first.
    a:
        type: noop # really
    b:
        type: log
        needs: [a]
        config:
            message: |
                # no comment
                text
    g:
        type: group
        needs:
          - b.error
        components:
            inner: { type: noop }
layout:
  a: [0, 0]
# at the end
`,
  'workflow: v1\nname: nested\ncomponents:\n  g:\n    type: group\n    components:\n      h:\n        type: try_catch\n        components:\n          x: { type: noop }\n        catch:\n          y:\n            type: log\n            config: { message: "1" }\n  k:\n    type: noop\n    needs: [g]\non_failure:\n  z: { type: log, config: { message: x } }\n',
];

/** Numbers that look random, the same for each seed. */
function numbers(state: number) {
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (count: number) => Math.floor(next() * count);
  return { below, of: <T>(list: readonly T[]): T | undefined => list[below(list.length)] };
}

interface Editor {
  shared: Shared;
  doc: Y.Doc;
  /** What the others sent and has not arrived, in any order. */
  waiting: Uint8Array[];
  /** What was shown some time ago, and is still being typed in. */
  stale: string;
}

const LINES = ['a', 'b', 'message', 'needs', 'g'];

/** One thing that somebody does. */
function act(editor: Editor, { below, of }: ReturnType<typeof numbers>, now: number): void {
  const { shared } = editor;
  const { text } = shared;
  const { workflow } = read(text);
  const all = [...workflow.components.values()];
  const one = of(all);
  const other = of(all);
  const containers = all.filter((each) => ['group', 'try_catch'].includes(each.type));
  const scope = (): Scope => {
    const holder = of([undefined, ...containers]);
    return holder ? { parent: holder.id, name: holder.type === 'try_catch' && below(2) === 0 ? 'catch' : 'components' } : { parent: null, name: 'components' };
  };
  const draw = (next: string) => {
    expect(shared.put(next, text, { now, label: 'draw', isDrawn: true }), next).toBe(true);
    // Nobody else did anything meanwhile: what was drawn is what is there, but for what a rule sets right.
    if (!read(next).mistake) expect(read(shared.text).mistake).toBeUndefined();
  };
  switch (below(14)) {
    case 0:
    case 1: {
      const type = of(['noop', 'log', 'group', 'try_catch']) ?? 'noop';
      const id = freeId(type, workflow.components);
      return draw(addComponents(text, workflow, scope(), [{ id, type, ...(one && below(2) && { needs: [one.id] }), ...(below(2) && { position: [below(99), below(99)] }) }]));
    }
    case 2:
      return one && draw(removeComponents(text, workflow, [one.id, ...(other && below(3) === 0 ? [other.id] : [])]));
    case 3:
      return one && draw(setField(text, one, of(['title', 'description', 'when']) ?? 'title', of(['x', 'two\nlines\n', '# no', 'a: b', undefined, '1', ' "'])));
    case 4:
      return one && draw(setField(text, one, 'config', of<unknown>([{ a: 1 }, { a: { b: [1, 2], c: 'x\n  y\n' } }, {}, undefined, { values: { n: below(9) }, list: [{ a: 1 }] }])));
    case 5:
      return one && other && draw(connect(text, workflow, { from: one.id, port: of(['success', 'error', 'true']) ?? 'success', to: other.id }));
    case 6: {
      const gone = of(workflow.connections);
      return gone && draw(disconnect(text, workflow, [gone]));
    }
    case 7: {
      if (!one) return undefined;
      const id = freeId(of(['renamed', 'a', 'log', one.id]) ?? 'a', workflow.components);
      return draw(rename(text, workflow, one.id, id));
    }
    case 8:
      return one && draw(moveTo(text, workflow, [one.id], scope()).text);
    case 9:
      return one && draw(setPositions(text, [[one.id, [below(500), below(500)]]]));
    case 10: {
      const pasted = one && paste(text, workflow, scope(), copy(text, workflow, [one.id]));
      return pasted && draw(pasted.text);
    }
    case 11:
      return draw(setWorkflowField(text, of(['title', 'parameters', 'timeout']) ?? 'title', of<unknown>(['x', { p: { type: 'string' } }, { q: { type: 'number' }, p: { type: 'string' } }, undefined])));
    case 12:
      void (below(2) ? shared.undo() : shared.redo());
      return undefined;
    default: {
      // Typed into what was shown some time ago.
      const lines = editor.stale.split('\n');
      const at = below(lines.length);
      const line = lines[at] ?? '';
      if (below(3) === 0) lines.splice(at, 1);
      else if (below(2)) lines.splice(at, 0, `${/^ */.exec(line)?.[0] ?? ''}${of(['# said', `${of(LINES)}: ${below(9)}`, ''])}`);
      else lines[at] = `${line}${of([' # x', '1', '', ':', ' |'])}`;
      shared.put(lines.join('\n'), editor.stale, { now, label: 'type' });
      editor.stale = shared.text;
      return undefined;
    }
  }
}

function world(number: number): void {
  const random = numbers(number);
  const beginning = random.of(BEGINNINGS) ?? '';
  let made = 0;
  const editors: Editor[] = Array.from({ length: 2 + random.below(4) }, () => {
    const doc = new Y.Doc();
    const shared = new Shared(beginning, (id) => `${id}~${(made += 1)}`);
    Y.applyUpdate(doc, firstState(beginning));
    doc.clientID = 1 + random.below(1_000_000);
    bind(shared, doc);
    return { shared, doc, waiting: [], stale: beginning };
  });
  for (const editor of editors) {
    editor.doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin === 'others') return;
      for (const other of editors) if (other !== editor) other.waiting.push(update);
    });
  }
  const steps = 6 + random.below(12);
  for (let step = 0; step < steps; step += 1) {
    const editor = random.of(editors);
    if (!editor) continue;
    if (random.below(4) === 0) editor.stale = editor.shared.text;
    act(editor, random, step * 1_000 * random.below(3));
    // Something arrives, somewhere, in some order, now and then twice.
    for (let count = random.below(4); count > 0; count -= 1) {
      const at = random.of(editors);
      if (!at || at.waiting.length === 0) continue;
      const [update] = at.waiting.splice(random.below(at.waiting.length), 1);
      if (!update) continue;
      Y.applyUpdate(at.doc, update, 'others');
      if (random.below(8) === 0) at.waiting.push(update);
      expect(read(at.shared.text).mistake, at.shared.text).toBeUndefined();
    }
  }
  for (const { doc, waiting } of editors) for (const update of waiting) Y.applyUpdate(doc, update, 'others');

  const [first] = editors;
  if (!first) return;
  const { text } = first.shared;
  const { workflow, mistake } = read(text);
  expect(mistake, text).toBeUndefined();
  for (const { shared, doc } of editors) {
    // Nobody has changed anything: then it is still shown to the letter.
    expect(shared.text === beginning ? compose(seed(beginning)).text : shared.text).toBe(text === beginning ? compose(seed(beginning)).text : text);
    expect([...contentOf(doc)].sort()).toEqual([...shared.entries()].sort());
  }
  // What was put together is cut into the same again.
  expect(compose(seed(text)).text).toBe(text);
  expect(read(formatted(text)).workflow.fields).toEqual(workflow.fields);
  // Every component is there once, under the id it is known by.
  expect([...workflow.components.keys()].sort(), text).toEqual([...first.shared.keys.keys()].sort());
  for (const editor of editors) editor.doc.destroy();
}

it(`many editors end with one document that can be read (${WORLDS} worlds from ${FROM})`, { timeout: 3_600_000 }, () => {
  for (let number = FROM; number < FROM + WORLDS; number += 1) {
    try {
      world(number);
    } catch (error) {
      if (error instanceof Error) error.message = `world ${number}: ${error.message}`;
      throw error;
    }
  }
});

it('one text makes one document, wherever it is made', () => {
  for (const text of BEGINNINGS) expect(firstState(text)).toEqual(firstState(text));
});
