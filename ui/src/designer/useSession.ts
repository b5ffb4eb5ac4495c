import { useCallback, useEffect, useRef, useState } from 'react';

import { NOBODY, type Person, type Place } from '../collab/people';
import type { Standing } from '../collab/room';
import type { Kept, Session, Told } from '../collab/session';
import type { Shared } from '../model/shared';
import { sayProblem } from '../ui/notify';

/** How long a connection is lost before a person is told, in milliseconds: a server may begin anew in that time. */
const LOST = 1_500;
/** How often others are shown where this person's pointer is, in milliseconds. */
const EVERY = 50;

/** Shares a document with others who have it open. What that needs is loaded after the page has been drawn. */
export function useSession(id: string, shared: Shared, base: string, kept: Kept, told: Told): { session: Session | undefined; people: readonly Person[]; standing: Standing; show: (place: Partial<Place>) => void } {
  const [session, setSession] = useState<Session>();
  const [people, setPeople] = useState<readonly Person[]>(NOBODY);
  const [standing, setStanding] = useState<Standing>('joining');
  const latest = useRef({ kept, told });
  latest.current = { kept, told };
  useEffect(() => {
    let isOver = false;
    let opened: Session | undefined;
    let losing: ReturnType<typeof setTimeout> | undefined;
    const stand = (now: Standing) => {
      if (now !== 'away') {
        clearTimeout(losing);
        losing = undefined;
        setStanding(now);
      } else if (!navigator.onLine) setStanding(now);
      else losing ??= setTimeout(() => setStanding(now), LOST);
    };
    const tell: Told = {
      saved: (revision, text) => latest.current.told.saved(revision, text),
      apart: () => latest.current.told.apart(),
      read: () => latest.current.told.read(),
    };
    const frame = requestAnimationFrame(() => {
      import('../collab/session')
        .then((part) => part.share(id, shared, base, latest.current.kept, tell))
        .then(
          (made) => {
            if (isOver) {
              made.close();
              return;
            }
            opened = made;
            made.subscribe(() => {
              setPeople(made.people());
              stand(made.standing());
            });
            stand(made.standing());
            setSession(made);
          },
          (error: unknown) => sayProblem('Others do not see what you do here. Reload the page to try again', error),
        );
    });
    return () => {
      isOver = true;
      cancelAnimationFrame(frame);
      clearTimeout(losing);
      opened?.close();
      setSession(undefined);
      setPeople(NOBODY);
    };
  }, [id, shared, base]);

  const place = useRef<Partial<Place>>({});
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => session?.show(place.current), [session]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const show = useCallback(
    (next: Partial<Place>) => {
      Object.assign(place.current, next);
      timer.current ??= setTimeout(() => {
        timer.current = undefined;
        session?.show(place.current);
      }, EVERY);
    },
    [session],
  );
  return { session, people, standing, show };
}
