import { ask } from './client';

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

export interface TriedComponent {
  component: string;
  fate: 'runs' | 'pinned' | 'taken' | 'left_out';
  sentence: string;
}

export interface Trial {
  id: string;
  status: string;
  workflow_id: string;
  workflow_version: number;
  created_at: string;
  repeated: boolean;
  components: TriedComponent[];
}

export const startTry = (workflow: string, body: TryRequest) =>
  ask<Trial>(`/api/v1/workflows/${encodeURIComponent(workflow)}/try`, { method: 'POST', body });
