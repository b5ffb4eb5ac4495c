import { expect, it } from 'vitest';

import { read } from './document';
import { everything, references } from './ports';

const { workflow } = read(`parameters: { who: { type: string } }
components:
  a: { type: noop }
  b: { type: noop, needs: [a] }
  careful:
    type: try_catch
    needs: [b]
    components: { risky: { type: noop } }
    catch: { mend: { type: noop } }
  each:
    type: loop
    components: { inner: { type: noop } }
`);

it('an expression may name what runs before, what runs before its container, and what its place knows', () => {
  const all = references(workflow, 'b');
  expect(all).toContain('components.a.output');
  expect(all).toContain('parameters.who');
  expect(all).not.toContain('components.careful.output');
  expect(references(workflow, 'mend')).toEqual(expect.arrayContaining(['components.b.output', 'error.message']));
  expect(references(workflow, 'risky')).not.toContain('error.message');
  expect(references(workflow, 'inner').slice(0, 2)).toEqual(['item', 'index']);
});

it('outside of components, all that stands in the workflow itself may be named', () => {
  expect(everything(workflow)).toEqual(expect.arrayContaining(['components.each.output', 'parameters.who']));
  expect(everything(workflow)).not.toContain('components.inner.output');
});
