import { ActionIcon, Button, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState } from 'react';

import { useAbout } from '../api/attention';
import type { LogEntry } from '../api/client';
import { logsQuery } from '../api/queries';
import { Choice } from '../ui/Choice';
import { clock, instant } from '../ui/format';
import { Icon } from '../ui/Icon';
import { Empty, Failed, Loading } from '../ui/States';
import { Switch } from '../ui/Switch';
import { lineNames } from './attempts';

const ROW = 24;

function asText(entry: LogEntry): string {
  const fields = entry.fields === undefined || entry.fields === null ? '' : ` ${JSON.stringify(entry.fields)}`;
  return `${entry.at} ${entry.level.padEnd(5)} ${entry.component ?? '-'} ${entry.message}${fields}`;
}

/** A line, what is looked for marked. */
function Marked({ text, find }: { text: string; find: string }) {
  if (!find) return text;
  const parts: (string | { hit: string })[] = [];
  const low = text.toLowerCase();
  const wanted = find.toLowerCase();
  let at = 0;
  for (let hit = low.indexOf(wanted); hit >= 0; hit = low.indexOf(wanted, at)) {
    parts.push(text.slice(at, hit), { hit: text.slice(hit, hit + wanted.length) });
    at = hit + wanted.length;
  }
  parts.push(text.slice(at));
  return parts.map((part, index) => (typeof part === 'string' ? part : <mark key={index}>{part.hit}</mark>));
}

/** What happened and what components wrote: only the lines that are seen are in the page, all are searched. */
export function Logs({
  id,
  component,
  level,
  find,
  line,
  until,
  onSet,
  isOver,
}: {
  id: string;
  component: string | undefined;
  level: string | undefined;
  find: string | undefined;
  /** The line that the address names. */
  line: string | undefined;
  /** The turn that is shown: later lines are not. */
  until?: number | undefined;
  onSet: (change: { level?: string | undefined; find?: string | undefined; task?: string | undefined; line?: string | undefined }) => void;
  isOver: boolean;
}) {
  const logs = useQuery(logsQuery(id, level, component));
  useAbout(logsQuery(id, level, component).queryKey, !isOver);
  const items = useMemo(() => {
    const all = logs.data?.items ?? [];
    return until === undefined ? all : all.filter((entry) => entry.seq <= until);
  }, [logs.data, until]);
  const [follow, setFollow] = useState(!isOver && line === undefined);
  const [wrap, setWrap] = useState(false);
  const [hit, setHit] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const wanted = find ?? '';

  const hits = useMemo(() => {
    if (!wanted) return [];
    const low = wanted.toLowerCase();
    return items.flatMap((entry, index) => (asText(entry).toLowerCase().includes(low) ? [index] : []));
  }, [items, wanted]);

  const list = useVirtualizer({
    count: items.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW,
    overscan: 30,
  });

  useEffect(() => {
    if (follow && items.length > 0) list.scrollToIndex(items.length - 1, { align: 'end' });
  }, [follow, items.length, list]);
  useEffect(() => list.measure(), [wrap, list]);

  const names = useMemo(() => lineNames(items), [items]);
  const named = line === undefined ? -1 : names.indexOf(line);
  const shown = useRef<string | undefined>(undefined);
  useEffect(() => {
    // Once for each address: later lines must not bring the reader back.
    if (named < 0 || shown.current === line) return;
    shown.current = line;
    list.scrollToIndex(named, { align: 'center' });
  }, [named, line, list]);

  const go = (to: number) => {
    if (hits.length === 0) return;
    const next = (to + hits.length) % hits.length;
    setHit(next);
    setFollow(false);
    list.scrollToIndex(hits[next] ?? 0, { align: 'center' });
  };

  const download = () => {
    const url = URL.createObjectURL(new Blob([items.map(asText).join('\n') + '\n'], { type: 'text/plain' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = `${id}.log`;
    link.click();
    URL.revokeObjectURL(url);
  };

  return (
    <div className="logs">
      <div className="filters tight">
        <TextInput
          size="xs"
          className="filters-find"
          placeholder="Find in the log"
          aria-label="Find in the log"
          leftSection={<Icon name="search" size={13} />}
          value={wanted}
          onChange={(event) => {
            setHit(0);
            onSet({ find: event.currentTarget.value || undefined });
          }}
          onKeyDown={(event) => {
            if (event.key === 'Enter') go(event.shiftKey ? hit - 1 : hit + 1);
          }}
          rightSectionWidth={92}
          rightSection={
            wanted ? (
              <span className="find-count">
                <span className="num">{hits.length === 0 ? '0' : `${hit + 1}/${hits.length}`}</span>
                <ActionIcon variant="subtle" color="gray" size="xs" aria-label="Hit before" onClick={() => go(hit - 1)}>
                  <Icon name="chevron" size={11} className="turn-up" />
                </ActionIcon>
                <ActionIcon variant="subtle" color="gray" size="xs" aria-label="Next hit" onClick={() => go(hit + 1)}>
                  <Icon name="down" size={11} />
                </ActionIcon>
              </span>
            ) : undefined
          }
        />
        <Choice
          aria-label="Least level"
          data={[
            { value: 'debug', label: 'All levels' },
            { value: 'info', label: 'Info and above' },
            { value: 'warn', label: 'Warnings and errors' },
            { value: 'error', label: 'Errors' },
          ]}
          value={level ?? 'debug'}
          onChange={(value) => onSet({ level: value === 'debug' ? undefined : value, line: undefined })}
        />
        {line !== undefined && !logs.isPending && named < 0 && (
          <span className="tag warn" role="status">
            The line of this address is not among these
          </span>
        )}
        {component && (
          <span className="tag filter-tag">
            {component}
            <button type="button" aria-label="Lines of all components" onClick={() => onSet({ task: undefined, line: undefined })}>
              <Icon name="cross" size={10} />
            </button>
          </span>
        )}
        <Switch size="xs" label="Wrap" checked={wrap} onChange={(event) => setWrap(event.currentTarget.checked)} />
        <Switch size="xs" label="Follow" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} />
        <span className="spacer" />
        <span className="dim num">{items.length} lines</span>
        <ActionIcon data-hint="Download" variant="subtle" color="gray" size="sm" onClick={download} aria-label="Download the log" disabled={items.length === 0}>
          <Icon name="download" size={14} />
        </ActionIcon>
      </div>
      {logs.isPending ? (
        <Loading rows={6} />
      ) : logs.isError && !logs.data ? (
        <Failed error={logs.error} retry={() => void logs.refetch()} />
      ) : items.length === 0 ? (
        <Empty icon="text" title={level || component ? 'No line matches.' : until !== undefined ? 'Nothing had been written by then.' : 'Nothing was written yet.'}>
          {(level || component) && (
            <Button size="xs" variant="default" onClick={() => onSet({ level: undefined, task: undefined, line: undefined })}>
              Show all lines
            </Button>
          )}
        </Empty>
      ) : (
        <div
          className={`log-box${wrap ? ' is-wrapped' : ''}`}
          ref={box}
          tabIndex={0}
          role="log"
          aria-label="Log"
          aria-live="off"
          onWheel={(event) => {
            if (event.deltaY < 0) setFollow(false);
          }}
        >
          <div style={{ height: list.getTotalSize(), position: 'relative', minWidth: wrap ? undefined : 'max-content' }}>
            {list.getVirtualItems().map(({ index, start, key }) => {
              const entry = items[index];
              if (!entry) return null;
              const isHit = hits.length > 0 && hits[hit] === index;
              return (
                <div
                  key={key}
                  data-index={index}
                  ref={list.measureElement}
                  className={`log-line level-${entry.level}${isHit || index === named ? ' is-hit' : ''}${entry.source === 'engine' ? ' is-engine' : ''}`}
                  style={{ transform: `translateY(${start}px)` }}
                >
                  <button
                    type="button"
                    className="log-time"
                    title={`${instant(entry.at)}: put this line in the address`}
                    aria-label={`Put the line of ${clock(entry.at)} in the address`}
                    onClick={() => {
                      setFollow(false);
                      shown.current = names[index];
                      onSet({ line: index === named ? undefined : names[index] });
                    }}
                  >
                    <time dateTime={entry.at}>{clock(entry.at)}</time>
                  </button>
                  <span className="log-level">{entry.level}</span>
                  <span className="log-component">{entry.component ?? ''}</span>
                  <span className="log-text">
                    <Marked text={entry.message} find={wanted} />
                    {entry.fields !== undefined && entry.fields !== null && (
                      <span className="dim">
                        {' '}
                        <Marked text={JSON.stringify(entry.fields)} find={wanted} />
                      </span>
                    )}
                  </span>
                </div>
              );
            })}
          </div>
        </div>
      )}
    </div>
  );
}
