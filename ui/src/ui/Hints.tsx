import { useEffect, useId, useState } from 'react';

interface Hint {
  text: string;
  x: number;
  y: number;
  isAbove: boolean;
}

/** How long a pointer rests on something before its hint shows, in milliseconds. */
const REST = 250;
/** Room that a hint needs below what it belongs to, in pixels. */
const ROOM = 48;

/**
 * Shows the `data-hint` of what the pointer rests on, or the focus was brought to by keys.
 *
 * One for all pages. Escape takes the hint away, as does pressing anything.
 */
export function Hints() {
  const id = useId();
  const [hint, setHint] = useState<Hint>();

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let owner: Element | undefined;
    const hide = () => {
      clearTimeout(timer);
      owner?.removeAttribute('aria-describedby');
      owner = undefined;
      setHint(undefined);
    };
    const show = (element: Element) => {
      const text = element.getAttribute('data-hint');
      if (!text || !element.isConnected) return;
      const box = element.getBoundingClientRect();
      const isAbove = box.bottom + ROOM > innerHeight;
      // What is said already as its name need not be said twice.
      if (element.getAttribute('aria-label') !== text) element.setAttribute('aria-describedby', id);
      setHint({ text, x: box.left + box.width / 2, y: isAbove ? box.top - 6 : box.bottom + 6, isAbove });
    };
    const begin = (target: EventTarget | null, rest: number) => {
      const element = target instanceof Element ? (target.closest('[data-hint]') ?? undefined) : undefined;
      if (element === owner) return;
      hide();
      owner = element;
      if (element) timer = setTimeout(() => show(element), rest);
    };
    const onPointer = (event: PointerEvent) => {
      if (event.pointerType === 'mouse') begin(event.target, REST);
    };
    const onFocus = (event: FocusEvent) => {
      if (event.target instanceof Element && event.target.matches(':focus-visible')) begin(event.target, 0);
      else hide();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') hide();
    };
    addEventListener('pointerover', onPointer);
    addEventListener('focusin', onFocus);
    addEventListener('focusout', hide);
    addEventListener('pointerdown', hide, true);
    addEventListener('scroll', hide, true);
    addEventListener('keydown', onKey, true);
    return () => {
      hide();
      removeEventListener('pointerover', onPointer);
      removeEventListener('focusin', onFocus);
      removeEventListener('focusout', hide);
      removeEventListener('pointerdown', hide, true);
      removeEventListener('scroll', hide, true);
      removeEventListener('keydown', onKey, true);
    };
  }, [id]);

  if (!hint) return null;
  // Half of the widest hint stays inside the window.
  const x = Math.max(130, Math.min(innerWidth - 130, hint.x));
  return (
    <div id={id} role="tooltip" className={`hint${hint.isAbove ? ' is-above' : ''}`} style={{ left: x, top: hint.y }}>
      {hint.text}
    </div>
  );
}
