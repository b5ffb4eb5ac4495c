/// <reference lib="webworker" />
import { arrange, type Graph, type Item } from './scene';

export interface Request {
  number: number;
  graph: Graph;
}
export interface Reply {
  number: number;
  items: Item[];
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  const reply: Reply = { number: data.number, items: arrange(data.graph, {}) };
  self.postMessage(reply);
};
