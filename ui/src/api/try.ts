import { answer, api, type Schemas } from './client';

export interface Pinned {
  output?: unknown;
  ports?: string[];
  error?: { class: string; message: string };
}

export interface TryRequest {
  component: string;
  only: boolean;
  definition?: string;
  parameters: Record<string, unknown>;
  pinned: Record<string, Pinned>;
  data_from?: string;
}

export type TriedComponent = Schemas['TriedComponent'];

export const startTry = (workflow: string, body: TryRequest) =>
  // The description leaves open what parameters and pins hold.
  answer(api.POST('/api/v1/workflows/{id}/try', { params: { path: { id: workflow } }, body: body as Schemas['TryWorkflow'] }));
