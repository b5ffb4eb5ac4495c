import '../styles/monitor.css';
import '../styles/try.css';

import { Button, CloseButton, Tabs } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useEffect, useMemo, useRef, useState } from 'react';

import { answer, api, ApiProblem } from '../api/client';
import { useLive } from '../api/live';
import { executionQuery, lastExecutionsQuery } from '../api/queries';
import { startTry, type TryRequest } from '../api/try';
import { tasksOf } from '../executions/attempts';
import { AttemptView, Output } from '../executions/Detail';
import { Logs } from '../executions/Logs';
import { useAttempts } from '../executions/useAttempts';
import type { Workflow } from '../model/document';
import { ownPorts, type Types } from '../model/ports';
import type { LastData } from '../schema-form/lastData';
import { SchemaForm } from '../schema-form/SchemaForm';
import { check } from '../schema-form/validate';
import { Choice } from '../ui/Choice';
import { ago, shortId } from '../ui/format';
import { Icon } from '../ui/Icon';
import { say, sayProblem } from '../ui/notify';
import { Status } from '../ui/Status';
import { isFinal, look } from '../ui/status';
import { useNow } from '../ui/Time';
import { schemaOfDocument } from '../workflows/parameters';
import { fetchPin, PinEditor } from './PinEditor';
import { pinOf, type PinsOf } from './pins';
import { before, pinsFor, refusals, standings, type Standing } from './tries';

/** What was asked for, each time anew. */
export interface Asked {
  component: string;
  only: boolean;
  /** Only its pinned data is to be shown. */
  isPin: boolean;
  number: number;
}

const parametersKey = (workflow: string) => `apg.try.${workflow}`;

/** The parameters of the last try in this tab. They may be confidential, so they go with the tab. */
function keptParameters(workflow: string): Record<string, unknown> {
  try {
    const kept = JSON.parse(sessionStorage.getItem(parametersKey(workflow)) ?? '{}') as unknown;
    return typeof kept === 'object' && kept !== null && !Array.isArray(kept) ? (kept as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Tries a component with what comes before it: what it is given, how it goes, and what stands for what does not run. */
export default function Try({
  id,
  text,
  workflow,
  types,
  asked,
  shown,
  pins,
  last,
  onStanding,
  onPick,
  onReveal,
  onClose,
}: {
  /** The workflow as the server knows it. */
  id: string;
  /** The document as it is drawn now: that is what is tried. */
  text: string;
  workflow: Workflow;
  types: Types;
  asked: Asked;
  /** The component whose data is shown. */
  shown: string;
  pins: PinsOf;
  last: LastData;
  onStanding: (standing: ReadonlyMap<string, Standing>) => void;
  onPick: (component: string) => void;
  onReveal: (component: string) => void;
  onClose: () => void;
}) {
  const client = useQueryClient();
  const now = useNow();
  const [parameters, setParameters] = useState(() => keptParameters(id));
  const [isAsked, setAsked] = useState(false);
  const [from, setFrom] = useState<string>();
  const [tab, setTab] = useState<string | null>(asked.isPin ? 'pin' : 'output');
  const [level, setLevel] = useState<string>();
  const [find, setFind] = useState<string>();
  const schema = useMemo(() => schemaOfDocument(workflow.parameters), [workflow.parameters]);
  const mistakes = useMemo(() => check(schema, parameters), [schema, parameters]);
  const executions = useQuery(lastExecutionsQuery(id));

  const start = useMutation({
    mutationFn: async ({ component, only }: { component: string; only: boolean }) => {
      const source = from ?? (only ? executions.data?.items[0]?.id : undefined);
      const body: TryRequest = { component, only, definition: text, parameters, pinned: pinsFor(workflow, component, pins.pins), ...(source !== undefined && { data_from: source }) };
      return { ...(await startTry(id, body)), component, text };
    },
    onSuccess: () => void client.invalidateQueries({ queryKey: ['executions'] }),
  });
  const trial = start.data;
  const { sight } = useLive(trial?.id);
  const execution = useQuery({ ...executionQuery(trial?.id ?? ''), enabled: trial !== undefined });
  const known = execution.data?.status ?? trial?.status;
  const status = known === undefined || isFinal(known) ? known : (sight?.progress.status ?? known);
  const isOver = status !== undefined && isFinal(status);
  const { attempts } = useAttempts(execution.data, isOver);

  const run = (component: string, only: boolean) => {
    setAsked(true);
    if (mistakes.length > 0) return say('Fill in the parameters first.');
    try {
      sessionStorage.setItem(parametersKey(id), JSON.stringify(parameters));
    } catch {
      // They are asked for again next time.
    }
    return start.mutate({ component, only });
  };
  const done = useRef(0);
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    // Once for each time it was asked for.
    if (done.current === asked.number) return;
    done.current = asked.number;
    setTab(asked.isPin ? 'pin' : 'output');
    if (!asked.isPin) latest.current(asked.component, asked.only);
  }, [asked]);

  const standing = useMemo(() => standings(trial?.components ?? [], workflow, sight), [trial, workflow, sight]);
  useEffect(() => onStanding(standing), [standing, onStanding]);
  useEffect(() => () => onStanding(new Map()), [onStanding]);
  useEffect(() => {
    if (isOver) void client.invalidateQueries({ queryKey: ['workflow', id, 'last-data'] });
  }, [client, id, isOver]);
  // The drawing has become lower: what is tried stays in sight, once the canvas knows how large it is.
  const { component: about } = asked;
  const reveal = useRef(onReveal);
  reveal.current = onReveal;
  useEffect(() => {
    let frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(() => reveal.current(about));
    });
    return () => cancelAnimationFrame(frame);
  }, [about]);
  const { want } = last;
  useEffect(() => want(), [want]);

  const stop = useMutation({
    mutationFn: (execution: string) => answer(api.POST('/api/v1/executions/{id}/cancel', { params: { path: { id: execution } }, body: {} })),
    onError: (error) => sayProblem('It was not stopped', error),
  });

  const refused = start.error;
  const reasons = refused instanceof ApiProblem ? refusals(refused.problems, workflow) : [];
  const isOfParameters = refused instanceof ApiProblem && refused.code === 'invalid_parameters';
  const shownMistakes = [
    ...(isAsked ? mistakes : []),
    ...(isOfParameters ? refused.problems.map(({ path, message }) => ({ path: path.filter((part) => part !== 'parameters'), message })) : []),
  ];
  const task = tasksOf(attempts).findLast((each) => each.component === shown);
  const fate = trial?.components.find((each) => each.component === shown);
  const component = workflow.components.get(shown);
  const isInLoop = (task?.iteration.length ?? 0) > 0;
  const earlier = before(workflow, asked.component);
  const pinned = [...earlier].filter((each) => pins.pins[each]).sort();
  const keep = (pin: Parameters<typeof pins.put>[1]) => {
    if (pins.put(shown, pin)) say(`${shown} is pinned.`);
  };
  const sentence = start.isPending
    ? 'Asking the server…'
    : trial === undefined
      ? ''
      : `${trial.component}: ${look(standing.get(trial.component)?.state ?? status ?? '').word.toLowerCase()}${trial.text === text ? '' : '; the document has changed since'}`;

  return (
    <section className="try" aria-label="Try">
      <div className="try-head">
        <h2>Try</h2>
        <code className="clip">{asked.component}</code>
        {status && <Status status={status} />}
        <span role="status" className="dim clip try-sentence">
          {sentence}
        </span>
        <span className="spacer" />
        {trial && (
          <Link to="/executions/$id" params={{ id: trial.id }} className="try-link">
            <Icon name="external" size={12} /> Execution …{shortId(trial.id)}
          </Link>
        )}
        {trial && !isOver && (
          <Button size="compact-xs" variant="default" leftSection={<Icon name="stop" size={12} />} loading={stop.isPending} onClick={() => stop.mutate(trial.id)}>
            Stop
          </Button>
        )}
        <Button size="compact-xs" data-hint="Ctrl Enter" leftSection={<Icon name="play" size={11} />} loading={start.isPending} onClick={() => run(asked.component, false)}>
          Up to here
        </Button>
        <Button size="compact-xs" data-hint="Ctrl Shift Enter" variant="default" disabled={start.isPending} onClick={() => run(asked.component, true)}>
          Only this
        </Button>
        <CloseButton size="sm" aria-label="Close the try" onClick={onClose} />
      </div>
      {refused && (
        <div className="banner is-failure" role="alert">
          <Icon name="alert" size={14} />
          <div>
            {refused.message}
            {!isOfParameters && reasons.length > 0 && (
              <ul className="try-reasons">
                {reasons.map(({ component: about, message }, index) => (
                  <li key={index}>
                    {about !== undefined && (
                      <>
                        <button type="button" className="as-link" onClick={() => onPick(about)}>
                          {about}
                        </button>{' '}
                      </>
                    )}
                    {message}
                  </li>
                ))}
              </ul>
            )}
          </div>
        </div>
      )}
      <div className="try-body">
        <form
          className="try-ask"
          aria-label="What it is tried with"
          onSubmit={(event) => {
            event.preventDefault();
            run(asked.component, false);
          }}
        >
          <h3>Parameters</h3>
          {Object.keys(schema.properties ?? {}).length === 0 ? (
            <p className="dim">This workflow takes none.</p>
          ) : (
            <SchemaForm schema={schema} value={parameters} onChange={(value) => setParameters((value ?? {}) as Record<string, unknown>)} mistakes={shownMistakes} />
          )}
          <Choice
            label="Data of what comes before"
            description="What is not pinned runs. To try only this takes it from the newest execution."
            none="as it comes"
            data={(executions.data?.items ?? []).map((each) => ({
              value: each.id,
              label: `of …${shortId(each.id)}: ${look(each.status).word.toLowerCase()}, ${ago(each.created_at, now)}`,
            }))}
            value={from}
            onChange={setFrom}
          />
          <h3>Pinned before it</h3>
          {pinned.length === 0 ? (
            <p className="dim">Nothing. Select a component before it, and pin what it gave.</p>
          ) : (
            <ul className="needs">
              {pinned.map((each) => (
                <li key={each}>
                  <button type="button" className="as-link clip" onClick={() => onPick(each)}>
                    {each}
                  </button>
                  <Button size="compact-xs" variant="subtle" color="gray" aria-label={`Unpin ${each}`} onClick={() => pins.remove(each)}>
                    Unpin
                  </Button>
                </li>
              ))}
            </ul>
          )}
          {/* So that the Enter key of any field tries. */}
          <button type="submit" hidden />
        </form>
        <div className="try-result">
          <Tabs value={tab} onChange={setTab} keepMounted={false}>
            <Tabs.List>
              <Tabs.Tab value="output">What {shown} gave</Tabs.Tab>
              <Tabs.Tab value="log">Log</Tabs.Tab>
              <Tabs.Tab value="pin">Pinned data</Tabs.Tab>
              <Tabs.Tab value="plan">Plan</Tabs.Tab>
            </Tabs.List>
            <Tabs.Panel value="output" className="try-panel">
              {trial === undefined ? (
                <p className="dim">Nothing was tried yet.</p>
              ) : (
                <>
                  {fate && fate.component !== trial.component && <p className="dim">{fate.sentence}</p>}
                  {task && (task.last.status !== 'completed' || task.attempts.length > 1) && fate?.fate !== 'left_out' && <AttemptView attempt={task.last} />}
                  {fate?.fate !== 'left_out' && task?.last.status !== 'failed' && <Output attempt={task?.last} />}
                  {pinOf(task?.last) !== undefined && !isInLoop && fate?.fate === 'runs' && (
                    <div>
                      <Button
                        size="compact-xs"
                        variant="default"
                        leftSection={<Icon name="pin" size={12} />}
                        onClick={() =>
                          void fetchPin(task?.last).then(
                            (pin) => pin && keep(pin),
                            (error: unknown) => sayProblem('It was not pinned', error),
                          )
                        }
                      >
                        Pin this {task?.last.status === 'failed' ? 'failure' : 'output'}
                      </Button>
                    </div>
                  )}
                </>
              )}
            </Tabs.Panel>
            <Tabs.Panel value="log" className="try-log">
              {trial === undefined ? (
                <p className="dim try-panel">Nothing was tried yet.</p>
              ) : (
                <Logs
                  id={trial.id}
                  component={shown}
                  level={level}
                  find={find}
                  line={undefined}
                  onSet={(change) => {
                    if ('level' in change) setLevel(change.level);
                    if ('find' in change) setFind(change.find);
                  }}
                  isOver={isOver}
                />
              )}
            </Tabs.Panel>
            <Tabs.Panel value="pin" className="try-panel">
              <PinEditor
                key={`${shown} ${JSON.stringify(pins.pins[shown])}`}
                id={shown}
                pin={pins.pins[shown]}
                ports={component ? ownPorts(component, workflow, types) : []}
                sources={[
                  { label: 'What it gave in this try', attempt: isInLoop ? undefined : task?.last, reason: isInLoop ? 'It gave something in each round: pin its loop.' : 'It gave nothing in this try.' },
                  {
                    label: 'What it gave in the last execution',
                    attempt: last.attempts?.get(shown),
                    reason: last.attempts ? 'It gave nothing in the last execution.' : last.reason,
                  },
                ]}
                onKeep={keep}
                onRemove={() => pins.remove(shown)}
              />
            </Tabs.Panel>
            <Tabs.Panel value="plan" className="try-panel">
              {trial === undefined ? (
                <p className="dim">Nothing was tried yet.</p>
              ) : (
                <ul className="try-plan">
                  {trial.components.map((each) => (
                    <li key={each.component} className={`is-${each.fate}`}>
                      <Icon name={each.fate === 'runs' ? 'play' : each.fate === 'left_out' ? 'skip' : 'pin'} size={12} />
                      <button type="button" className="as-link clip" onClick={() => onPick(each.component)}>
                        {each.component}
                      </button>
                      <span className="dim">{each.sentence}</span>
                    </li>
                  ))}
                </ul>
              )}
            </Tabs.Panel>
          </Tabs>
        </div>
      </div>
    </section>
  );
}
