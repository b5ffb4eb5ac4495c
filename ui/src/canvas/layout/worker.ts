/// <reference lib="webworker" />
import { arrange, type Graph, type Item } from './scene';

export interface Request {
  number: number;
  graph: Graph;
}
export interface Reply {
  number: number;
  items: Item[];
  /** How long it took, in milliseconds. */
  took: number;
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const begin = performance.now();
  const items = arrange(data.graph, {});
  const reply: Reply = { number: data.number, items, took: performance.now() - begin };
  self.postMessage(reply);
};
