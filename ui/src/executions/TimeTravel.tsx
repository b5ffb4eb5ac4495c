import { ActionIcon, Button } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';

import type { Moment } from '../api/moment';
import { useOffer } from '../ui/commands';
import { clock, instant } from '../ui/format';
import { Icon } from '../ui/Icon';
import { useRested } from '../ui/Time';
import { FIRST, strideOf, within } from './travel';

/** How long the hand rests on a turn before it is asked for, in milliseconds. */
const REST = 120;
/** How long each moment is shown while the journal is played, in milliseconds. */
const PACE = 700;

/** A slider over the journal: everything on the page shows the execution as it was after that turn. */
export function TimeTravel({
  at,
  last,
  moment,
  isComing,
  error,
  onAt,
  onNear,
}: {
  /** The turn that is shown; undefined is now. */
  at: number | undefined;
  /** The newest turn that is known of. */
  last: number;
  moment: Moment | undefined;
  /** What is shown is not that moment yet. */
  isComing: boolean;
  error: string | undefined;
  onAt: (at: number | undefined) => void;
  /** A turn that is likely to be asked for next. */
  onNear: (seq: number) => void;
}) {
  const [hand, setHand] = useState(at);
  const [plays, setPlays] = useState(false);
  // The hand does not slip away under the finger while further turns are written: the end of the slider moves with the next own step.
  const end = useRef(last);
  if (hand === undefined) end.current = last;
  const most = Math.max(FIRST, end.current, hand ?? 0);
  const stride = strideOf(last);

  // An address of somebody's own moves the hand; one that follows the hand must not, it may have gone on.
  const told = useRef(at);
  useEffect(() => {
    if (at !== told.current) setHand(at);
    told.current = at;
  }, [at]);
  const rested = useRested(hand, REST);
  const latest = useRef({ at, hand, onAt, onNear });
  latest.current = { at, hand, onAt, onNear };
  useEffect(() => {
    const now = latest.current;
    if (rested === now.at || rested !== now.hand) return;
    told.current = rested;
    now.onAt(rested);
  }, [rested]);

  const isThere = hand === at && !isComing;
  useEffect(() => {
    if (!plays || hand === undefined || error !== undefined) return undefined;
    if (hand >= last) {
      setPlays(false);
      return undefined;
    }
    if (!isThere) return undefined;
    latest.current.onNear(within(hand + stride, last));
    const timer = setTimeout(() => {
      end.current = last;
      setHand(within(hand + stride, last));
    }, PACE);
    return () => clearTimeout(timer);
  }, [plays, hand, last, stride, isThere, error]);

  // An address may name a turn that is not written yet.
  const beyond = !isComing && moment && hand !== undefined && hand > moment.last_seq ? moment.last_seq : undefined;
  useEffect(() => {
    if (beyond !== undefined) setHand(Math.max(FIRST, beyond));
  }, [beyond]);

  const go = (to: number) => {
    setPlays(false);
    end.current = last;
    setHand(within(to, last));
  };
  const toNow = () => {
    setPlays(false);
    setHand(undefined);
    told.current = undefined;
    onAt(undefined);
  };
  const play = () => {
    if (plays) return setPlays(false);
    end.current = last;
    if (hand === undefined || hand >= last) setHand(FIRST);
    return setPlays(true);
  };
  useOffer([
    { id: 'travel', label: plays ? 'Stop playing the journal' : 'Play the journal', icon: plays ? 'pause' : 'play', run: play },
    {
      id: 'now',
      label: 'Back to now',
      icon: 'clock',
      reason: hand === undefined ? 'This is now.' : undefined,
      run: toNow,
    },
  ]);

  const shown = hand ?? most;
  const when = moment && hand !== undefined && moment.seq === hand ? moment.at : undefined;
  return (
    <div className={`travel${hand === undefined ? '' : ' is-past'}`} role="group" aria-label="Time travel">
      <ActionIcon data-hint="The turn before" variant="subtle" color="gray" size="sm" aria-label="The turn before" disabled={shown <= FIRST} onClick={() => go(shown - 1)}>
        <Icon name="chevron" size={12} className="turn-back" />
      </ActionIcon>
      <ActionIcon data-hint={plays ? 'Stop playing' : 'Play the journal'} variant="subtle" color="gray" size="sm" aria-label={plays ? 'Stop playing' : 'Play the journal'} onClick={play}>
        <Icon name={plays ? 'pause' : 'play'} size={12} />
      </ActionIcon>
      <ActionIcon data-hint="The turn after" variant="subtle" color="gray" size="sm" aria-label="The turn after" disabled={hand === undefined || shown >= last} onClick={() => go(shown + 1)}>
        <Icon name="chevron" size={12} />
      </ActionIcon>
      <input
        type="range"
        className="travel-slider"
        aria-label="Moment of the execution"
        aria-valuetext={hand === undefined ? 'now' : `turn ${hand} of ${most}${when ? `, ${clock(when)}` : ''}`}
        min={FIRST}
        max={most}
        step={1}
        value={shown}
        onChange={(event) => go(event.currentTarget.valueAsNumber)}
      />
      <span className="travel-word num" role="status">
        {error !== undefined && hand !== undefined ? (
          <span className="tone-bad-text">{error}</span>
        ) : hand === undefined ? (
          <span className="dim">Now, turn {most}</span>
        ) : (
          <>
            Turn {hand} of {most}
            {when && (
              <time dateTime={when} title={instant(when)}>
                {' '}
                {clock(when)}
              </time>
            )}
          </>
        )}
      </span>
      {hand !== undefined && (
        <Button size="compact-xs" variant="default" onClick={toNow}>
          Back to now{last > most ? `, ${last - most} newer` : ''}
        </Button>
      )}
    </div>
  );
}
