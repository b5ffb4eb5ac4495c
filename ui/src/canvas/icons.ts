import type { ComponentType } from '../api/client';
import type { IconName } from '../ui/Icon';

const OWN: Record<string, IconName> = {
  start: 'play',
  end: 'flag',
  decision: 'branch',
  switch: 'branch',
  parallel: 'branch',
  join: 'branch',
  loop: 'loop',
  for_loop: 'loop',
  while_loop: 'loop',
  group: 'box',
  race: 'bolt',
  try_catch: 'shield',
  sub_workflow: 'flow',
  set_variables: 'text',
  fail: 'cross',
  delay: 'clock',
  rate_limit: 'clock',
  wait_for_event: 'signal',
  approval: 'check',
  human_task: 'person',
  notification: 'bell',
  filter: 'filter',
  aggregate: 'sigma',
  validate: 'shield',
  http_request: 'globe',
  database_query: 'database',
  file_operation: 'file',
  csv_parse: 'file',
  log: 'text',
  noop: 'dot',
  task: 'external',
};

const FAMILIES: Record<string, IconName> = {
  basic: 'dot',
  control: 'branch',
  time: 'clock',
  people: 'person',
  data: 'table',
  formats: 'file',
  integrations: 'globe',
  utility: 'text',
};

/** The icon of a component type: its own, or that of its family. */
export function iconOf(type: ComponentType | undefined): IconName {
  if (!type) return 'help';
  return OWN[type.type] ?? FAMILIES[type.family] ?? 'box';
}
