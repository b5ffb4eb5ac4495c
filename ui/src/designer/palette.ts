import type { ComponentType } from '../api/client';

/** What people call things, beside the aliases that documents may use. */
const SYNONYMS: Record<string, string> = {
  start: 'begin entry input',
  end: 'finish output result return exit stop',
  noop: 'nothing placeholder',
  decision: 'if else branch choose yes no',
  switch: 'choose route branch match',
  parallel: 'fork concurrent side by side split',
  join: 'merge gather wait all',
  loop: 'each repeat iterate list map',
  for_loop: 'count repeat range number',
  while_loop: 'until repeat poll',
  group: 'block scope frame sequence',
  race: 'first fastest timeout any',
  try_catch: 'error handle exception rescue finally',
  sub_workflow: 'child nested call reuse',
  set_variables: 'variable compute expression value assign',
  fail: 'error stop abort exception',
  delay: 'pause timer schedule later',
  rate_limit: 'throttle quota limiter per second per minute slow',
  wait_for_event: 'signal message callback listen',
  approval: 'decide approve reject confirm ask person',
  human_task: 'form person manual ask work input',
  notification: 'email mail slack teams message alert tell chat',
  transform: 'convert shape etl rows',
  filter: 'where keep select rows',
  map: 'convert each row fields',
  aggregate: 'sum count average group statistics',
  sort: 'order rank',
  flatten: 'nested unnest explode',
  deduplicate: 'unique distinct duplicates',
  validate: 'check schema quality rules',
  csv_parse: 'file read table excel',
  http_request: 'rest api call web url fetch curl post get service',
  database_query: 'sql select insert postgres mysql sqlite table',
  file_operation: 'read write file folder copy move disk',
  log: 'print write line debug',
  task: 'external worker custom',
};

export const FAMILY_NAMES: Record<string, string> = {
  basic: 'Basic',
  control: 'Flow control',
  time: 'Time and events',
  people: 'People',
  data: 'Data',
  formats: 'Formats',
  integrations: 'Integrations',
  utility: 'Utility',
};

/** Whether two words are equal but for one letter more, less, other, or swapped with its neighbour. */
export function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 1;
  if (at === a.length && at === b.length) return true;
  return (
    a.slice(at + 1) === b.slice(at + 1) ||
    a.slice(at) === b.slice(at + 1) ||
    a.slice(at + 1) === b.slice(at) ||
    (a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2))
  );
}

/** How well a type fits what is looked for; 0 when it does not. Every word must fit somewhere. */
export function score(type: ComponentType, query: string): number {
  const wanted = query.toLowerCase().split(/[\s_]+/).filter(Boolean);
  if (wanted.length === 0) return 1;
  const name = type.type.split('_');
  const others = [...type.aliases.flatMap((alias) => alias.split('_')), ...(SYNONYMS[type.type]?.split(' ') ?? [])];
  const rest = `${type.family} ${FAMILY_NAMES[type.family] ?? ''} ${type.summary}`.toLowerCase().split(/[^a-z0-9]+/);
  let total = type.type === wanted.join('_') ? 100 : 0;
  for (const word of wanted) {
    const near = (list: string[]) => word.length > 3 && list.some((each) => isNear(word, each.slice(0, word.length)) || isNear(word, each));
    const best = name.some((each) => each.startsWith(word))
      ? 20
      : others.some((each) => each.startsWith(word))
        ? 12
        : rest.some((each) => each.startsWith(word))
          ? 5
          : near(name)
            ? 4
            : near(others)
              ? 3
              : 0;
    if (best === 0) return 0;
    total += best;
  }
  return total;
}

/** The types that fit, the best first; among equals the order of the palette. */
export function find(types: readonly ComponentType[], query: string): ComponentType[] {
  if (query.trim() === '') return [...types];
  return types
    .map((type, order) => ({ type, order, score: score(type, query) }))
    .filter((each) => each.score > 0)
    .sort((a, b) => b.score - a.score || a.order - b.order)
    .map((each) => each.type);
}

const RECENT = 'apg.recent-types';

/** The types that were added last, the newest first. */
export function recent(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(RECENT) ?? '[]');
    return Array.isArray(kept) ? kept.filter((each): each is string => typeof each === 'string') : [];
  } catch {
    return []; // What somebody else wrote there is of no use, and does no harm.
  }
}

export function remember(type: string): void {
  localStorage.setItem(RECENT, JSON.stringify([type, ...recent().filter((each) => each !== type)].slice(0, 5)));
}

/** The settings a new component begins with: of the example, what must be given; all of it when nothing must. */
export function firstConfig(type: ComponentType): unknown {
  const schema = type.schema as { required?: string[] };
  const example = type.example as Record<string, unknown> | undefined;
  if (!example || ['start', 'end', 'noop', 'join', 'group', 'race', 'try_catch'].includes(type.type)) return undefined;
  const required = schema.required ?? [];
  if (required.length === 0) return example;
  return Object.fromEntries(required.filter((name) => name in example).map((name) => [name, example[name]]));
}
