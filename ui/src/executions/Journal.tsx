import { useQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState } from 'react';

import { useAbout } from '../api/attention';
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

function TurnView({ turn, at, opened, toggle, onAt }: { turn: Turn; at: number | undefined; opened: boolean; toggle: () => void; onAt: (seq: number) => void }) {
  return (
    <div className={`turn${turn.seq === at ? ' is-shown' : at !== undefined && turn.seq > at ? ' is-later' : ''}`} aria-current={turn.seq === at ? 'step' : undefined}>
      <div className="turn-line">
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
      <button type="button" className="turn-then" aria-label={`Show the moment after turn ${turn.seq}`} onClick={() => onAt(turn.seq)}>
        Show
      </button>
      </div>
      {opened && <JsonView value={turn} label={`turn ${turn.seq}`} />}
    </div>
  );
}

/** The journal, turn by turn: all that is known of an execution is folded from this. */
export function Journal({ id, at, onAt, isOver }: { id: string; at: number | undefined; onAt: (seq: number) => void; isOver: boolean }) {
  const journal = useQuery(journalQuery(id));
  useAbout(journalQuery(id).queryKey, !isOver);
  const [opened, setOpened] = useState<ReadonlySet<number>>(new Set());
  const box = useRef<HTMLDivElement>(null);
  const turns = useMemo(() => journal.data?.items ?? [], [journal.data]);
  const list = useVirtualizer({ count: turns.length, getScrollElement: () => box.current, estimateSize: () => 28, overscan: 10 });
  const shown = at === undefined ? -1 : turns.findIndex((turn) => turn.seq === at);
  useEffect(() => {
    if (shown >= 0) list.scrollToIndex(shown, { align: 'auto' });
  }, [shown, list]);
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
                at={at}
                onAt={onAt}
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
