import { ActionIcon, Button, Textarea, TextInput } from '@mantine/core';
import { createContext, lazy, Suspense, useContext, useId, useRef, useState, type ReactNode } from 'react';

import { Choice } from '../ui/Choice';
import { Icon } from '../ui/Icon';
import { Switch } from '../ui/Switch';
import { blank, branchOf, classify, isExpression, readAny, showAny, type Field, type JsonSchema } from './schema';
import type { FormMistake } from './validate';

const ExpressionHelp = lazy(() => import('./ExpressionHelp'));

interface Shared {
  root: JsonSchema;
  mistakes: FormMistake[];
  /** What an expression may name here; absent where expressions have no meaning. */
  references: string[] | undefined;
  readOnly: boolean;
}

const SharedContext = createContext<Shared>({ root: {}, mistakes: [], references: undefined, readOnly: false });

type Path = string[];
type Change = (value: unknown) => void;

const startsWith = (path: Path, prefix: Path) => prefix.every((part, index) => path[index] === part);

/** The mistakes of a field; those further down count only where the field is drawn as one. */
function useMistake(path: Path, isLeaf: boolean): string | undefined {
  const { mistakes } = useContext(SharedContext);
  const found = mistakes.filter((mistake) =>
    isLeaf ? startsWith(mistake.path, path) : mistake.path.length === path.length && startsWith(mistake.path, path),
  );
  return found.length > 0 ? found.map((mistake) => mistake.message).join(' ') : undefined;
}

const title = (name: string) => name.replaceAll('_', ' ').replace(/^./, (first) => first.toUpperCase());

/** Inserts what an expression may name: the browser's own list, behind a sign. */
function References({ bare, insert }: { bare: boolean; insert: (text: string) => void }) {
  const { references, readOnly } = useContext(SharedContext);
  if (!references || references.length === 0 || readOnly) return null;
  return (
    <span className="reference-pick" data-hint="Insert a reference">
      <Icon name="link" size={13} />
      <select
        aria-label="Insert a reference"
        value=""
        onChange={(event) => insert(bare ? event.currentTarget.value : `\${{ ${event.currentTarget.value} }}`)}
      >
        <option value="" disabled>
          insert a reference
        </option>
        {references.map((reference) => (
          <option key={reference} value={reference}>
            {reference}
          </option>
        ))}
      </select>
    </span>
  );
}

/** What stands around each field: its name, what it means, and whether it is set, fixed or computed. */
function Row({
  name,
  field,
  id,
  required,
  isFixed,
  value,
  onChange,
  canCompute,
  isSet,
  children,
  error,
  block = false,
}: {
  name: ReactNode;
  field: Field;
  id: string;
  required: boolean;
  /** It cannot be left out. */
  isFixed: boolean;
  value: unknown;
  onChange: Change;
  canCompute: boolean;
  isSet: boolean;
  children: ReactNode;
  error: string | undefined;
  block?: boolean;
}) {
  const { references, readOnly } = useContext(SharedContext);
  const computed = isExpression(value);
  return (
    <div className={`field${block ? ' field-block' : ''}${error ? ' has-mistake' : ''}`}>
      <div className="field-head">
        <label htmlFor={id} className="field-name">
          {name}
          {required && (
            <span className="field-required" title="Is needed" aria-hidden="true">
              *
            </span>
          )}
        </label>
        <span className="spacer" />
        {isSet && !isFixed && !readOnly && (
          <ActionIcon data-hint={field.default === undefined ? 'Leave it out' : `Back to the default: ${JSON.stringify(field.default)}`} variant="subtle" color="gray" size="xs" onClick={() => onChange(undefined)} aria-label="Leave it out">
            <Icon name="undo" size={12} />
          </ActionIcon>
        )}
        {canCompute && references && !readOnly && (
          <button
            data-hint={computed ? 'Give a fixed value' : 'Compute it with an expression'}
            type="button"
            className={`fx${computed ? ' is-on' : ''}`}
            aria-pressed={computed}
            aria-label="fx: an expression"
            onClick={() => onChange(computed ? undefined : '${{  }}')}
          >
            fx
          </button>
        )}
      </div>
      {field.description && (
        <div className="field-about" title={field.description}>
          {field.description}
        </div>
      )}
      {children}
      {error && (
        <div className="field-mistake" role="alert">
          <Icon name="alert" size={12} /> {error}
        </div>
      )}
    </div>
  );
}

/** A field for text in which expressions may stand; what they may name is offered while it is written. */
function ExpressionField({
  id,
  value,
  onChange,
  bare,
  placeholder,
  error,
  onBlur,
}: {
  id: string;
  value: string;
  onChange: (text: string) => void;
  bare: boolean;
  placeholder?: string | undefined;
  error?: string | undefined;
  onBlur?: () => void;
}) {
  const { readOnly, references } = useContext(SharedContext);
  const field = useRef<HTMLTextAreaElement>(null);
  const [hasFocus, setFocus] = useState(false);
  // What is typed while the help is on its way is offered something as well.
  const [isTyped, setTyped] = useState(false);
  const insert = (text: string) => onChange(bare || value.trim() === '${{  }}' || value.trim() === '' ? `${bare ? value : ''}${text}` : value + text);
  return (
    <div
      onFocus={() => setFocus(true)}
      onBlur={(event) => {
        setFocus(event.currentTarget.contains(event.relatedTarget));
        setTyped(false);
      }}
    >
      <Textarea
        ref={field}
        id={id}
        size="xs"
        autosize
        minRows={1}
        maxRows={14}
        readOnly={readOnly}
        value={value}
        placeholder={placeholder}
        error={error}
        onChange={(event) => {
          setTyped(true);
          onChange(event.currentTarget.value);
        }}
        onBlur={onBlur}
        classNames={{ input: 'mono' }}
        rightSection={references ? <References bare={bare} insert={insert} /> : undefined}
        spellCheck={false}
      />
      {hasFocus && references && !readOnly && (
        <Suspense fallback={null}>
          <ExpressionHelp field={field} value={value} isTyped={isTyped} bare={bare} references={references} onChange={onChange} />
        </Suspense>
      )}
    </div>
  );
}

/** A field for any value, written as YAML. Text that cannot be read stays here, marked, until it can. */
function AnyValue({ id, value, onChange, placeholder }: { id: string; value: unknown; onChange: Change; placeholder?: string | undefined }) {
  const [draft, setDraft] = useState<string>();
  const read = draft === undefined ? {} : readAny(draft);
  const take = (text: string) => {
    const { value: next, mistake } = readAny(text);
    setDraft(text);
    if (!mistake) onChange(next);
  };
  return (
    <ExpressionField
      id={id}
      bare={false}
      value={draft ?? showAny(value)}
      placeholder={placeholder ?? 'a value, as in YAML'}
      onChange={take}
      onBlur={() => {
        if (!read.mistake) setDraft(undefined);
      }}
      error={read.mistake ? `Not taken: ${read.mistake}` : undefined}
    />
  );
}

function ListField({ field, value, onChange, path }: { field: Extract<Field, { kind: 'list' }>; value: unknown; onChange: Change; path: Path }) {
  const { root, readOnly } = useContext(SharedContext);
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  const put = (next: unknown[]) => onChange(next.length === 0 ? undefined : next);
  const move = (from: number, to: number) => {
    const next = [...items];
    const [moved] = next.splice(from, 1);
    next.splice(to, 0, moved);
    put(next);
  };
  return (
    <div className="list-field">
      {items.map((item, index) => (
        <div key={index} className="list-item">
          <div className="list-item-body">
            <SchemaField
              name={<span className="dim">{index + 1}</span>}
              schema={field.items}
              value={item}
              required
              isItem
              path={[...path, String(index)]}
              onChange={(next) => put(items.map((each, other) => (other === index ? next : each)))}
            />
          </div>
          {!readOnly && (
            <div className="list-item-actions">
              <ActionIcon variant="subtle" color="gray" size="xs" disabled={index === 0} aria-label="Move up" onClick={() => move(index, index - 1)}>
                <Icon name="chevron" size={11} className="turn-up" />
              </ActionIcon>
              <ActionIcon variant="subtle" color="gray" size="xs" disabled={index === items.length - 1} aria-label="Move down" onClick={() => move(index, index + 1)}>
                <Icon name="down" size={11} />
              </ActionIcon>
              <ActionIcon variant="subtle" color="gray" size="xs" aria-label="Remove" onClick={() => put(items.filter((_, other) => other !== index))}>
                <Icon name="trash" size={12} />
              </ActionIcon>
            </div>
          )}
        </div>
      ))}
      {!readOnly && (
        <Button variant="subtle" size="compact-xs" leftSection={<Icon name="plus" size={11} />} onClick={() => put([...items, blank(field.items, root)])}>
          Add
        </Button>
      )}
    </div>
  );
}

function KeyName({ name, taken, onRename }: { name: string; taken: (name: string) => boolean; onRename: (name: string) => void }) {
  const [draft, setDraft] = useState(name);
  const wrong = draft !== name && (draft === '' || taken(draft));
  return (
    <TextInput
      size="xs"
      aria-label="Name"
      value={draft}
      error={wrong ? 'Names are unique and not empty' : undefined}
      classNames={{ input: 'mono' }}
      onChange={(event) => setDraft(event.currentTarget.value)}
      onBlur={() => (wrong ? setDraft(name) : draft !== name && onRename(draft))}
    />
  );
}

function MapField({ field, value, onChange, path }: { field: Extract<Field, { kind: 'map' }>; value: unknown; onChange: Change; path: Path }) {
  const { root, readOnly } = useContext(SharedContext);
  const entries = Object.entries(typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});
  const put = (next: [string, unknown][]) => onChange(next.length === 0 ? undefined : Object.fromEntries(next));
  const taken = (name: string) => entries.some(([each]) => each === name);
  const fresh = () => {
    let number = entries.length + 1;
    while (taken(`key_${number}`)) number += 1;
    return `key_${number}`;
  };
  return (
    <div className="list-field">
      {entries.map(([name, each], index) => (
        <div key={index} className="list-item">
          <div className="list-item-body">
            <SchemaField
              name={
                readOnly ? (
                  name
                ) : (
                  <KeyName
                    key={name}
                    name={name}
                    taken={taken}
                    onRename={(to) => put(entries.map(([key, kept], other) => [other === index ? to : key, kept]))}
                  />
                )
              }
              schema={field.values}
              value={each}
              required
              isItem
              path={[...path, name]}
              onChange={(next) => put(entries.map(([key, kept], other) => [key, other === index ? (next ?? '') : kept]))}
            />
          </div>
          {!readOnly && (
            <div className="list-item-actions">
              <ActionIcon variant="subtle" color="gray" size="xs" aria-label={`Remove ${name}`} onClick={() => put(entries.filter((_, other) => other !== index))}>
                <Icon name="trash" size={12} />
              </ActionIcon>
            </div>
          )}
        </div>
      ))}
      {!readOnly && (
        <Button variant="subtle" size="compact-xs" leftSection={<Icon name="plus" size={11} />} onClick={() => put([...entries, [fresh(), blank(field.values, root)]])}>
          Add
        </Button>
      )}
    </div>
  );
}

/** Above this many fields, those that are neither needed nor set are folded away; inside others, sooner. */
const FOLD_ABOVE = { outside: 5, inside: 2 };

function Properties({ field, value, onChange, path }: { field: Extract<Field, { kind: 'record' }>; value: unknown; onChange: Change; path: Path }) {
  const record = (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {}) as Record<string, unknown>;
  const [opened, setOpened] = useState(false);
  // What was shown once stays where it is while somebody fills it in and empties it again.
  const [first] = useState(() => new Set(Object.keys(record)));
  const names = Object.keys(field.properties);
  const folds = names.length > (path.length === 0 ? FOLD_ABOVE.outside : FOLD_ABOVE.inside);
  const isShown = (name: string) => !folds || field.required.includes(name) || first.has(name) || record[name] !== undefined;
  const shown = names.filter(isShown);
  const folded = names.filter((name) => !isShown(name));
  // A type whose fields are all optional shows its first ones.
  const least = path.length === 0 ? 3 : 1;
  const head = shown.length === 0 ? names.slice(0, least) : shown;
  const tail = shown.length === 0 ? names.slice(least) : folded;
  const draw = (name: string) => (
    <SchemaField
      key={name}
      name={title(name)}
      schema={field.properties[name] ?? {}}
      value={record[name]}
      required={field.required.includes(name)}
      path={[...path, name]}
      onChange={(next) => {
        const changed = { ...record };
        if (next === undefined) delete changed[name];
        else changed[name] = next;
        onChange(changed);
      }}
    />
  );
  return (
    <div className="properties">
      {head.map(draw)}
      {tail.length > 0 && (
        <>
          <button type="button" className="fold" aria-expanded={opened} onClick={() => setOpened(!opened)}>
            <Icon name={opened ? 'down' : 'chevron'} size={11} />
            {opened ? 'Fewer settings' : `${tail.length} more settings`}
            {!opened && <span className="dim"> {tail.slice(0, 4).join(', ').replaceAll('_', ' ')}…</span>}
          </button>
          {opened && tail.map(draw)}
        </>
      )}
    </div>
  );
}

function Either({ field, value, onChange, path }: { field: Extract<Field, { kind: 'either' }>; value: unknown; onChange: Change; path: Path }) {
  const { root, readOnly } = useContext(SharedContext);
  const [chosen, setChosen] = useState<number>();
  const branch = value === undefined ? (chosen ?? 0) : branchOf(value, field.branches, root);
  const schema = field.branches[branch]?.schema ?? {};
  return (
    <>
      <Choice
        aria-label="Form"
        readOnly={readOnly}
        data={field.branches.map(({ label }, index) => ({ value: String(index), label }))}
        value={String(branch)}
        onChange={(next) => {
          const index = Number(next ?? 0);
          setChosen(index);
          const target = field.branches[index];
          if (target) onChange(blank(target.schema, root));
        }}
      />
      <div className="nested">
        <SchemaField name="Value" schema={schema} value={value} required path={path} onChange={onChange} plain />
      </div>
    </>
  );
}

/** One value, drawn as its schema says. */
export function SchemaField({
  name,
  schema,
  value,
  onChange,
  path,
  required = false,
  plain = false,
  isItem = false,
}: {
  name: ReactNode;
  schema: JsonSchema;
  value: unknown;
  onChange: Change;
  path: Path;
  required?: boolean;
  /** Without its name: the field stands for its parent. */
  plain?: boolean;
  /** An item of a list or a map: it is removed rather than left out. */
  isItem?: boolean;
}) {
  const { root, readOnly, references } = useContext(SharedContext);
  const id = useId();
  const field = classify(schema, root);
  const isLeaf = !['list', 'record', 'map', 'either'].includes(field.kind) || isExpression(value);
  const error = useMistake(path, isLeaf);
  const computed = isExpression(value) && references !== undefined;
  const hint = field.default === undefined || field.default === null ? undefined : showAny(field.default);

  let input: ReactNode;
  if (computed && field.kind !== 'any' && field.kind !== 'text') {
    input = <ExpressionField id={id} value={value} onChange={onChange} bare={false} />;
  } else {
    switch (field.kind) {
      case 'text':
        input =
          references !== undefined ? (
            <ExpressionField
              id={id}
              bare={field.bare}
              placeholder={hint}
              value={typeof value === 'string' ? value : showAny(value)}
              onChange={(text) => onChange(text === '' && !required ? undefined : text)}
            />
          ) : (
            <TextInput
              id={id}
              size="xs"
              readOnly={readOnly}
              placeholder={hint}
              value={typeof value === 'string' ? value : showAny(value)}
              onChange={(event) => onChange(event.currentTarget.value === '' ? undefined : event.currentTarget.value)}
            />
          );
        break;
      case 'number':
        input = (
          <TextInput
            id={id}
            size="xs"
            type="number"
            step={field.integer ? 1 : 'any'}
            readOnly={readOnly}
            placeholder={hint}
            value={typeof value === 'number' ? value : ''}
            onChange={(event) => onChange(event.currentTarget.value === '' ? undefined : Number(event.currentTarget.value))}
          />
        );
        break;
      case 'boolean':
        input = (
          <Switch
            id={id}
            size="xs"
            disabled={readOnly}
            checked={typeof value === 'boolean' ? value : field.default === true}
            onChange={(event) => onChange(event.currentTarget.checked)}
          />
        );
        break;
      case 'choice': {
        const found = field.choices.findIndex((choice) => choice.value === value);
        input = (
          <Choice
            id={id}
            readOnly={readOnly}
            none={hint ?? 'choose'}
            data={field.choices.map((choice, index) => ({ value: String(index), label: String(choice.value) }))}
            value={found < 0 ? undefined : String(found)}
            clearable={!required}
            onChange={(next) => onChange(next === undefined ? undefined : field.choices[Number(next)]?.value)}
            description={field.choices[found]?.description}
          />
        );
        break;
      }
      case 'list':
        input = <ListField field={field} value={value} onChange={onChange} path={path} />;
        break;
      case 'map':
        input = <MapField field={field} value={value} onChange={onChange} path={path} />;
        break;
      case 'record':
        input = <Properties field={field} value={value} onChange={onChange} path={path} />;
        break;
      case 'either':
        input = <Either field={field} value={value} onChange={onChange} path={path} />;
        break;
      case 'any':
        input = <AnyValue id={id} value={value} onChange={onChange} placeholder={hint} />;
        break;
    }
  }
  if (plain) return <>{input}</>;
  return (
    <Row
      name={name}
      field={field}
      id={id}
      required={required && !isItem}
      isFixed={required}
      value={value}
      onChange={onChange}
      canCompute={!['text', 'any'].includes(field.kind)}
      isSet={value !== undefined}
      error={error}
      block={!isLeaf}
    >
      {input}
    </Row>
  );
}

/** A form for a value, drawn from its JSON Schema. Whatever the schema, every value can be edited. */
export function SchemaForm({
  schema,
  value,
  onChange,
  mistakes = [],
  references,
  readOnly = false,
}: {
  schema: JsonSchema;
  value: unknown;
  onChange: Change;
  mistakes?: FormMistake[];
  references?: string[];
  readOnly?: boolean;
}) {
  return (
    <SharedContext value={{ root: schema, mistakes, references, readOnly }}>
      <SchemaField name="" schema={schema} value={value} onChange={onChange} path={[]} required plain />
    </SharedContext>
  );
}
