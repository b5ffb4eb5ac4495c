import type { Graph, Item } from './scene';
import type { Reply, Request } from './worker';

let worker: Worker | undefined;
let last = 0;

/** Lays a graph out from nothing, beside the page. A later request makes an earlier one void: it is answered with undefined. */
export function tidy(graph: Graph): Promise<Item[] | undefined> {
  worker ??= new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const using = worker;
  const number = ++last;
  return new Promise((resolve, reject) => {
    const done = () => {
      using.removeEventListener('message', onMessage);
      using.removeEventListener('error', onError);
    };
    const onMessage = ({ data }: MessageEvent<Reply>) => {
      if (data.number !== number) return;
      done();
      performance.measure('apg.layout', { start: performance.now() - data.took, duration: data.took });
      resolve(number === last ? data.items : undefined);
    };
    const onError = (event: ErrorEvent) => {
      done();
      worker = undefined;
      reject(new Error(`The layout could not be computed: ${event.message}`));
    };
    using.addEventListener('message', onMessage);
    using.addEventListener('error', onError);
    using.postMessage({ number, graph } satisfies Request);
  });
}
