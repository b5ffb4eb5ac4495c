import { useLayoutEffect, useRef, useState } from 'react';

type Functions<T> = { [Name in keyof T]: (...given: never[]) => unknown };

/**
 * The same functions at each render; each does what the one given last would do.
 *
 * A part of the page that is given a function made in a render is drawn anew at each of them, whether or not anything it
 * shows has changed. Only for what is called by events: while drawing, it would be the function of the drawing before.
 */
export function useSteady<T extends Functions<T>>(given: T): T {
  const latest = useRef(given);
  useLayoutEffect(() => {
    latest.current = given;
  });
  const [steady] = useState(
    () => Object.fromEntries(Object.keys(given).map((name) => [name, (...args: never[]) => latest.current[name as keyof T](...args)])) as T,
  );
  return steady;
}
