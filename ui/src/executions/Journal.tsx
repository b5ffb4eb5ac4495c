import { useQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useRef, useState } from 'react';

import { journalQuery, type Turn } from '../api/queries';
import { clock, instant } from '../ui/format';
import { Icon } from '../ui/Icon';
import { JsonView } from '../ui/JsonView';
import { Failed, Loading } from '../ui/States';

/** What an event is called, and whom it is about. */
function named(event: unknown): { name: string; about: string } {
  if (typeof event === 'string') return { name: event, about: '' };
  const [name, body] = Object.entries((event ?? {}) as Record<string, unknown>)[0] ?? ['', undefined];
  const task = (body as { task?: { component?: string; iteration?: number[] } } | undefined)?.task;
  return { name, about: task?.component ? task.component + (task.iteration ?? []).map((round) => `[${round}]`).join('') : '' };
}

function TurnView({ turn, opened, toggle }: { turn: Turn; opened: boolean; toggle: () => void }) {
  return (
    <div className="turn">
      <button type="button" className="turn-head" aria-expanded={opened} onClick={toggle}>
        <Icon name={opened ? 'down' : 'chevron'} size={11} />
        <span className="num turn-number">{turn.seq}</span>
        <time dateTime={turn.at} title={instant(turn.at)}>
          {clock(turn.at)}
        </time>
        <span className="turn-events">
          {turn.events.slice(0, 12).map((event, index) => {
            const { name, about } = named(event);
            return (
              <span key={index} className="turn-event">
                {name.replaceAll('_', ' ')}
                {about && <code> {about}</code>}
              </span>
            );
          })}
          {turn.events.length > 12 && <span className="dim">and {turn.events.length - 12} more</span>}
        </span>
      </button>
      {opened && <JsonView value={turn} label={`turn ${turn.seq}`} />}
    </div>
  );
}

/** The journal, turn by turn: all that is known of an execution is folded from this. */
export function Journal({ id }: { id: string }) {
  const journal = useQuery(journalQuery(id));
  const [opened, setOpened] = useState<ReadonlySet<number>>(new Set());
  const box = useRef<HTMLDivElement>(null);
  const turns = journal.data?.items ?? [];
  const list = useVirtualizer({ count: turns.length, getScrollElement: () => box.current, estimateSize: () => 28, overscan: 10 });
  if (journal.isPending) return <Loading rows={6} />;
  if (journal.isError && !journal.data) return <Failed error={journal.error} retry={() => void journal.refetch()} />;
  return (
    <div className="scroll-box" ref={box} tabIndex={0} aria-label="Journal" role="region">
      <div style={{ height: list.getTotalSize(), position: 'relative' }}>
        {list.getVirtualItems().map(({ index, start, key }) => {
          const turn = turns[index];
          if (!turn) return null;
          return (
            <div key={key} data-index={index} ref={list.measureElement} style={{ position: 'absolute', inset: '0 0 auto 0', transform: `translateY(${start}px)` }}>
              <TurnView
                turn={turn}
                opened={opened.has(turn.seq)}
                toggle={() => {
                  const next = new Set(opened);
                  if (!next.delete(turn.seq)) next.add(turn.seq);
                  setOpened(next);
                }}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}
