import { ActionIcon, Button, CloseButton, Tabs, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useState } from 'react';

import { answer, api } from '../api/client';
import { iconOf } from '../canvas/icons';
import { connectionMistake, idMistake, needText, type Component, type Connection, type Workflow } from '../model/document';
import { FOLDED, ownPorts, references, type Types } from '../model/ports';
import { SchemaForm } from '../schema-form/SchemaForm';
import type { JsonSchema } from '../schema-form/schema';
import { Choice } from '../ui/Choice';
import type { Command } from '../ui/commands';
import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { ofField, said, type Placed } from './problems';

const CachePanel = lazy(() => import('./CachePanel'));

/** Fields of a component that say when and how it runs, in the order of the form. */
const POLICY = ['retry', 'timeout', 'queue_timeout', 'total_timeout', 'delivery', 'worker'];
const POLICY_TAB = [...POLICY, 'cache'];
const CONTAINER_POLICY = ['timeout'];
/** Fields of the workflow that a form shows; what is drawn is not among them. */
const WORKFLOW = ['parameters', 'output', 'timeout', 'on_unhandled_failure', 'compensate_on_cancel', 'concurrency', 'triggers', 'labels'];

/** The JSON Schema of workflow documents, as the server has it. */
export function useWorkflowSchema(): JsonSchema | undefined {
  const schema = useQuery({
    queryKey: ['schemas', 'workflow'],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/schemas/workflow.json', { signal })),
    staleTime: Infinity,
  });
  return schema.data as JsonSchema | undefined;
}

function pick(schema: JsonSchema | undefined, root: JsonSchema, names: string[]): JsonSchema {
  const properties = Object.fromEntries(names.flatMap((name) => (schema?.properties?.[name] ? [[name, schema.properties[name]]] : [])));
  return { type: 'object', properties, ...(root.$defs && { $defs: root.$defs }) };
}

export interface Changes {
  field: (component: Component, field: string, value: unknown) => void;
  workflowField: (field: string, value: unknown) => void;
  rename: (from: string, to: string) => void;
  connect: (line: Connection) => void;
  disconnect: (line: Connection) => void;
  remove: (ids: string[]) => void;
  duplicate: (ids: string[]) => void;
  moveTo: (ids: string[], container: string | null) => void;
}

function IdField({ component, workflow, rename }: { component: Component; workflow: Workflow; rename: (to: string) => void }) {
  const [draft, setDraft] = useState(component.id);
  const wrong = idMistake(draft, workflow, component.id);
  const take = () => {
    if (wrong) setDraft(component.id);
    else if (draft !== component.id) rename(draft);
  };
  return (
    <TextInput
      size="xs"
      label="Id"
      value={draft}
      error={wrong}
      classNames={{ input: 'mono' }}
      onChange={(event) => setDraft(event.currentTarget.value)}
      onBlur={take}
      onKeyDown={(event) => {
        if (event.key === 'Enter') take();
        if (event.key === 'Escape') setDraft(component.id);
      }}
    />
  );
}

/** Connections in: listed, taken away, and added by choosing; what dragging does, without dragging. */
function Needs({ component, workflow, types, changes }: { component: Component; workflow: Workflow; types: Types; changes: Changes }) {
  const choices = [...workflow.components.values()].flatMap((from) =>
    ['success', ...ownPorts(from, workflow, types), ...FOLDED]
      .filter((port) => connectionMistake(workflow, { from: from.id, port, to: component.id }) === undefined)
      .map((port) => ({ value: `${from.id}.${port}`, label: needText(from.id, port) })),
  );
  return (
    <section>
      <div className="field-head">
        <span className="field-name">Runs after</span>
      </div>
      {component.needs.length === 0 ? (
        <p className="dim">Nothing: it runs at once.</p>
      ) : (
        <ul className="needs">
          {component.needs.map(({ id, port }) => (
            <li key={`${id}.${port}`}>
              <code>{needText(id, port)}</code>
              <ActionIcon
                variant="subtle"
                color="gray"
                size="xs"
                aria-label={`Remove the connection from ${needText(id, port)}`}
                onClick={() => changes.disconnect({ from: id, port, to: component.id })}
              >
                <Icon name="cross" size={11} />
              </ActionIcon>
            </li>
          ))}
        </ul>
      )}
      <Choice
        mt={4}
        aria-label="Connect from"
        none={choices.length === 0 ? 'nothing can lead here' : 'connect from…'}
        disabled={choices.length === 0}
        data={choices}
        value={undefined}
        onChange={(value) => {
          if (value === undefined) return;
          const dot = value.indexOf('.');
          changes.connect({ from: value.slice(0, dot), port: value.slice(dot + 1), to: component.id });
        }}
      />
      {component.needs.length > 1 && (
        <Choice
          mt={8}
          label="Waits for"
          data={[
            { value: 'all', label: 'All of them' },
            { value: 'any', label: 'The first of them' },
            { value: 'all_done', label: 'All to be settled, however' },
          ]}
          value={component.join}
          onChange={(value) => changes.field(component, 'join', value === 'all' ? undefined : value)}
        />
      )}
    </section>
  );
}

function ComponentInspector({
  component,
  workflow,
  types,
  schema,
  placed,
  changes,
  deeds,
  onClose,
}: {
  component: Component;
  workflow: Workflow;
  types: Types;
  schema: JsonSchema | undefined;
  placed: readonly Placed[];
  changes: Changes;
  deeds: readonly Command[];
  onClose: () => void;
}) {
  const type = types.of(component.type);
  const isContainer = types.isContainer(component.type);
  const here = references(workflow, component.id);
  const own = placed.filter((each) => each.component === component.id);
  const general = own.filter(({ path: [field = ''] }) => !['config', ...POLICY_TAB].includes(field));
  const definition = schema?.$defs?.['component'];
  const policy = pick(definition, schema ?? {}, isContainer ? CONTAINER_POLICY : POLICY);
  const policyValue = Object.fromEntries(Object.entries(component.fields).filter(([name]) => name in (policy.properties ?? {})));
  const containers = [...workflow.components.values()].filter((each) => types.isContainer(each.type) && each.id !== component.id);
  const counts = (fields: string[]) => own.filter((each) => fields.includes(each.path[0] ?? '')).length;
  return (
    <>
      <div className="inspector-head">
        <div className="inspector-title">
          <span className="card-icon">
            <Icon name={iconOf(type)} size={15} />
          </span>
          <h2 title={component.title ?? component.id}>{component.title ?? component.id}</h2>
          <span className="spacer" />
          {deeds.map(({ id, label, icon, keys, reason, run }) => (
            <ActionIcon
              key={id}
              data-hint={reason ?? (keys ? `${label} (${keys})` : label)}
              data-disabled={reason !== undefined || undefined}
              aria-disabled={reason !== undefined}
              variant="subtle"
              color="gray"
              size="sm"
              aria-label={label}
              onClick={() => (reason === undefined ? run() : say(reason))}
            >
              <Icon name={icon} size={14} />
            </ActionIcon>
          ))}
          <ActionIcon data-hint="Duplicate (Ctrl-D)" variant="subtle" color="gray" size="sm" aria-label="Duplicate" onClick={() => changes.duplicate([component.id])}>
            <Icon name="copy" size={14} />
          </ActionIcon>
          <ActionIcon data-hint="Delete (Del)" variant="subtle" color="gray" size="sm" aria-label="Delete" onClick={() => changes.remove([component.id])}>
            <Icon name="trash" size={14} />
          </ActionIcon>
          <CloseButton size="sm" aria-label="Close the settings" onClick={onClose} />
        </div>
        <p className="dim">{type?.summary ?? `There is no type “${component.type}”.`}</p>
        {general.map(({ mistake }, index) => (
          <p key={index} className={mistake.severity === 'error' ? 'field-mistake' : 'tone-warn'} role="alert">
            <Icon name="alert" size={12} /> {said(mistake)}
          </p>
        ))}
      </div>
      <Tabs defaultValue="settings" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="settings">
            Settings {counts(['config']) > 0 && <span className="card-count bad">{counts(['config'])}</span>}
          </Tabs.Tab>
          <Tabs.Tab value="order">Order</Tabs.Tab>
          <Tabs.Tab value="policy">
            Policy {counts(POLICY_TAB) > 0 && <span className="card-count bad">{counts(POLICY_TAB)}</span>}
          </Tabs.Tab>
          <Tabs.Tab value="notes">Notes</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="settings" className="inspector-body">
          {type ? (
            <SchemaForm
              schema={type.schema as JsonSchema}
              value={component.config ?? {}}
              onChange={(value) => changes.field(component, 'config', isEmpty(value) ? undefined : value)}
              mistakes={ofField(placed, component.id, 'config')}
              references={here}
            />
          ) : (
            <p className="dim">Its settings are shown in the source.</p>
          )}
          {type && Object.keys((type.schema as JsonSchema).properties ?? {}).length === 0 && <p className="dim">It has no settings.</p>}
        </Tabs.Panel>
        <Tabs.Panel value="order" className="inspector-body">
          <Needs component={component} workflow={workflow} types={types} changes={changes} />
          <SchemaForm
            schema={{
              type: 'object',
              properties: { when: { type: 'string', description: 'A bare expression. When it is false, the component is skipped.' } },
            }}
            value={{ when: component.fields['when'] }}
            onChange={(value) => changes.field(component, 'when', (value as { when?: unknown }).when)}
            references={here}
            mistakes={ofField(placed, component.id, 'when').map((each) => ({ ...each, path: ['when'] }))}
          />
          {(containers.length > 0 || component.scope.parent !== null) && (
            <Choice
              label="Stands in"
              none="the workflow"
              data={containers.map((each) => ({ value: each.id, label: each.title ?? each.id }))}
              value={component.scope.parent ?? undefined}
              onChange={(value) => changes.moveTo([component.id], value ?? null)}
            />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="policy" className="inspector-body">
          {schema ? (
            <SchemaForm
              schema={policy}
              value={policyValue}
              onChange={(value) => {
                const next = value as Record<string, unknown>;
                for (const name of Object.keys(policy.properties ?? {})) {
                  if (next[name] !== policyValue[name]) changes.field(component, name, isEmpty(next[name]) ? undefined : next[name]);
                }
              }}
              mistakes={POLICY.flatMap((name) => ofField(placed, component.id, name).map((each) => ({ ...each, path: [name, ...each.path] })))}
            />
          ) : (
            <p className="dim">Loading…</p>
          )}
          {schema && !isContainer && (
            <Suspense fallback={null}>
              <CachePanel
                component={component}
                type={type}
                schema={schema}
                references={here}
                mistakes={ofField(placed, component.id, 'cache')}
                onChange={(cache) => changes.field(component, 'cache', cache)}
              />
            </Suspense>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="notes" className="inspector-body">
          <IdField key={component.id} component={component} workflow={workflow} rename={(to) => changes.rename(component.id, to)} />
          <TextInput
            size="xs"
            label="Title"
            placeholder={component.id}
            value={component.title ?? ''}
            onChange={(event) => changes.field(component, 'title', event.currentTarget.value || undefined)}
          />
          <Textarea
            size="xs"
            label="Description"
            autosize
            minRows={3}
            value={String(component.fields['description'] ?? '')}
            onChange={(event) => changes.field(component, 'description', event.currentTarget.value || undefined)}
          />
        </Tabs.Panel>
      </Tabs>
    </>
  );
}

function isEmpty(value: unknown): boolean {
  return value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0);
}

function WorkflowInspector({ workflow, schema, placed, changes }: { workflow: Workflow; schema: JsonSchema | undefined; placed: readonly Placed[]; changes: Changes }) {
  const picked = pick(schema, schema ?? {}, WORKFLOW);
  const value = Object.fromEntries(WORKFLOW.filter((name) => workflow.fields[name] !== undefined).map((name) => [name, workflow.fields[name]]));
  const name = placed.find((each) => each.component === undefined && each.path[0] === 'name');
  return (
    <>
      <div className="inspector-head">
        <div className="inspector-title">
          <h2>Workflow</h2>
        </div>
      </div>
      <div className="inspector-body">
        <TextInput
          size="xs"
          label="Name"
          required
          value={workflow.name}
          error={name && said(name.mistake)}
          onChange={(event) => changes.workflowField('name', event.currentTarget.value)}
        />
        <TextInput
          size="xs"
          label="Title"
          value={workflow.title ?? ''}
          onChange={(event) => changes.workflowField('title', event.currentTarget.value || undefined)}
        />
        <Textarea
          size="xs"
          label="Description"
          autosize
          minRows={2}
          value={String(workflow.fields['description'] ?? '')}
          onChange={(event) => changes.workflowField('description', event.currentTarget.value || undefined)}
        />
        {schema && (
          <SchemaForm
            schema={picked}
            value={value}
            onChange={(next) => {
              const changed = next as Record<string, unknown>;
              for (const each of WORKFLOW) if (changed[each] !== value[each]) changes.workflowField(each, isEmpty(changed[each]) ? undefined : changed[each]);
            }}
            mistakes={WORKFLOW.flatMap((each) => ofField(placed, undefined, each).map((one) => ({ ...one, path: [each, ...one.path] })))}
          />
        )}
      </div>
    </>
  );
}

/** The settings of what is selected: a component, several, or the workflow itself. */
export function Inspector(props: {
  workflow: Workflow;
  types: Types;
  selection: ReadonlySet<string>;
  line: Connection | undefined;
  placed: readonly Placed[];
  changes: Changes;
  /** What can be done with the component that is selected, beside changing it. */
  deeds: readonly Command[];
  onClose: () => void;
}) {
  const { workflow, types, selection, line, placed, changes, deeds, onClose } = props;
  const schema = useWorkflowSchema();
  const chosen = [...selection].map((id) => workflow.components.get(id)).filter((each) => each !== undefined);
  if (line) {
    return (
      <>
        <div className="inspector-head">
          <div className="inspector-title">
            <h2>Connection</h2>
            <span className="spacer" />
            <CloseButton size="sm" aria-label="Close the settings" onClick={onClose} />
          </div>
          <p>
            From <code>{needText(line.from, line.port)}</code> to <code>{line.to}</code>
          </p>
          <div>
            <Button size="compact-xs" variant="default" leftSection={<Icon name="trash" size={12} />} onClick={() => changes.disconnect(line)}>
              Delete
            </Button>
          </div>
        </div>
      </>
    );
  }
  if (chosen.length > 1) {
    const ids = chosen.map((each) => each.id);
    return (
      <div className="inspector-head">
        <div className="inspector-title">
          <h2>{chosen.length} components</h2>
          <span className="spacer" />
          <CloseButton size="sm" aria-label="Close the settings" onClick={onClose} />
        </div>
        <p className="dim">{ids.join(', ')}</p>
        <div className="toolbar">
          <Button size="compact-xs" variant="default" leftSection={<Icon name="copy" size={12} />} onClick={() => changes.duplicate(ids)}>
            Duplicate
          </Button>
          <Button size="compact-xs" variant="default" leftSection={<Icon name="trash" size={12} />} onClick={() => changes.remove(ids)}>
            Delete
          </Button>
        </div>
      </div>
    );
  }
  const only = chosen[0];
  if (only) {
    return (
      <ComponentInspector
        key={only.id}
        component={only}
        workflow={workflow}
        types={types}
        schema={schema}
        placed={placed}
        changes={changes}
        deeds={deeds}
        onClose={onClose}
      />
    );
  }
  return <WorkflowInspector workflow={workflow} schema={schema} placed={placed} changes={changes} />;
}
