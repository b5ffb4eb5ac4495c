import { describe, expect, it } from 'vitest';

import type { ComponentType } from '../api/client';
import { read } from '../model/document';
import { Types } from '../model/ports';
import { containersOf, graphOf } from './graph';
import { arrange } from './layout/scene';

const type = (name: string) => ({ type: name, aliases: [], ports: ['success'] }) as unknown as ComponentType;
const TYPES = new Types(['noop', 'loop', 'group', 'try_catch', 'parallel'].map(type));
const { workflow } = read(`components:
  before: { type: noop }
  each:
    type: loop
    needs: [before]
    components:
      careful:
        type: try_catch
        components: { risky: { type: noop } }
        catch: { mend: { type: noop } }
      then: { type: noop, needs: [careful] }
`);
const ids = (scene: Parameters<typeof graphOf>[2]) => graphOf(workflow, TYPES, scene).parts.map((part) => part.id);

describe('what is drawn', () => {
  it('is everything, with containers as frames', () => {
    expect(ids({})).toEqual(['before', 'each', 'careful', 'risky', 'mend', 'then']);
    expect(containersOf(workflow, 'mend')).toEqual(['careful', 'each']);
  });

  it('leaves out what stands in a folded container, which is then no frame', () => {
    const graph = graphOf(workflow, TYPES, { folded: new Set(['careful']) });
    expect(graph.parts.map((part) => part.id)).toEqual(['before', 'each', 'careful', 'then']);
    expect(graph.parts.find((part) => part.id === 'careful')?.isContainer).toBe(false);
    expect(ids({ folded: new Set(['each']) })).toEqual(['before', 'each']);
  });

  it('is the inside of the container that was stepped into, with its further lists', () => {
    expect(ids({ inside: 'each' })).toEqual(['careful', 'risky', 'mend', 'then']);
    // What is around it may be folded.
    expect(ids({ inside: 'careful', folded: new Set(['each']) })).toEqual(['risky', 'mend']);
    const items = arrange(graphOf(workflow, TYPES, { inside: 'careful' }), {});
    expect(items.map((item) => [item.id, item.parent])).toEqual([
      ['risky', undefined],
      ['careful#catch', undefined],
      ['mend', 'careful#catch'],
    ]);
  });
});
