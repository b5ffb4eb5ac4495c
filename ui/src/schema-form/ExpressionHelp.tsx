import { useContext, useEffect, useId, useLayoutEffect, useRef, useState, type RefObject } from 'react';

import { brief, expressionAt, previewOf, suggest, typedReference, type Preview } from '../model/expressions';
import { LastDataContext } from './lastData';

function Shown({ preview, reason }: { preview: Preview | undefined; reason: string }) {
  if (!preview) return <span className="dim">{reason}</span>;
  switch (preview.kind) {
    case 'value':
      return (
        <>
          <span className="dim">last: </span>
          <code>{brief(preview.value, 200) || '(empty)'}</code>
        </>
      );
    case 'missing':
      return (
        <span className="tone-warn-text">
          <code>{preview.path}</code> had no value in the last execution.
        </span>
      );
    case 'computed':
      return <span className="dim">Computed when it runs: only plain references are shown here.</span>;
    case 'plain':
      return null;
  }
}

/** Below a field for expressions, while it has the focus: what a reference may become, and what it stood for last. */
export default function ExpressionHelp({
  field,
  value,
  isTyped,
  bare,
  references,
  onChange,
}: {
  field: RefObject<HTMLTextAreaElement | null>;
  value: string;
  /** Whether it was typed into before this came. */
  isTyped: boolean;
  bare: boolean;
  references: readonly string[];
  onChange: (text: string) => void;
}) {
  const last = useContext(LastDataContext);
  const listId = useId();
  const [cursor, setCursor] = useState(field.current?.selectionStart ?? value.length);
  const [isOpen, setOpen] = useState(isTyped);
  const [active, setActive] = useState(0);
  const goTo = useRef<number>(undefined);
  const want = last?.want;
  useEffect(() => want?.(), [want]);

  const span = expressionAt(value, cursor, bare);
  const typed = span ? typedReference(value.slice(span.from, cursor)) : '';
  const options = isOpen && span ? suggest(typed, references, last?.data) : [];
  const at = Math.min(active, options.length - 1);

  const choose = (path: string) => {
    const from = cursor - typed.length;
    // A reference that is typed outside of an expression cannot be: the list is not open there.
    goTo.current = from + path.length;
    onChange(value.slice(0, from) + path + value.slice(cursor));
    setOpen(false);
  };
  const wasTyped = useRef(false);
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    if (goTo.current !== undefined) {
      element.setSelectionRange(goTo.current, goTo.current);
      goTo.current = undefined;
    } else if (wasTyped.current) {
      setActive(0);
      setOpen(true);
    }
    wasTyped.current = false;
    setCursor(element.selectionStart);
  }, [value, field]);

  const latest = useRef({ options, at, choose, canOpen: span !== undefined });
  latest.current = { options, at, choose, canOpen: span !== undefined };
  useEffect(() => {
    const element = field.current;
    if (!element) return undefined;
    const move = () => setCursor(element.selectionStart);
    // Only noted: drawing anything here would come before the field has told what was typed, and take that back.
    const onInput = () => {
      wasTyped.current = true;
    };
    const onKey = (event: KeyboardEvent) => {
      const now = latest.current;
      const take = (act: () => void) => {
        event.preventDefault();
        event.stopPropagation();
        act();
      };
      if (event.key === ' ' && event.ctrlKey && now.canOpen) return take(() => setOpen(true));
      if (now.options.length === 0) return undefined;
      if (event.key === 'ArrowDown') return take(() => setActive(Math.min(now.options.length - 1, now.at + 1)));
      if (event.key === 'ArrowUp') return take(() => setActive(Math.max(0, now.at - 1)));
      if (event.key === 'Escape') return take(() => setOpen(false));
      const chosen = now.options[now.at];
      if ((event.key === 'Enter' || event.key === 'Tab') && !event.shiftKey && chosen) return take(() => now.choose(chosen.path));
      return undefined;
    };
    element.addEventListener('input', onInput);
    element.addEventListener('keyup', move);
    element.addEventListener('click', move);
    element.addEventListener('keydown', onKey);
    return () => {
      element.removeEventListener('input', onInput);
      element.removeEventListener('keyup', move);
      element.removeEventListener('click', move);
      element.removeEventListener('keydown', onKey);
    };
  }, [field]);

  // The field keeps the focus; readers of screens hear from it which suggestion is meant.
  const isListed = options.length > 0;
  useEffect(() => {
    const element = field.current;
    if (!element) return undefined;
    element.setAttribute('aria-autocomplete', 'list');
    if (isListed) {
      element.setAttribute('aria-controls', listId);
      element.setAttribute('aria-activedescendant', `${listId}-${at}`);
      document.getElementById(`${listId}-${at}`)?.scrollIntoView({ block: 'nearest' });
    }
    return () => {
      element.removeAttribute('aria-controls');
      element.removeAttribute('aria-activedescendant');
    };
  }, [field, isListed, at, listId]);

  return (
    <div className="expression-help">
      {isListed && (
        <div className="suggestions" id={listId} role="listbox" aria-label="References">
          {options.map((option, index) => (
            <div
              key={option.path}
              id={`${listId}-${index}`}
              role="option"
              aria-selected={index === at}
              className={`suggestion${index === at ? ' is-active' : ''}`}
              // The field must not lose the focus by a click on what it offers.
              onPointerDown={(event) => event.preventDefault()}
              onClick={() => choose(option.path)}
            >
              <code>{option.path}</code>
              {option.last && <span className="dim clip">{option.last}</span>}
            </div>
          ))}
        </div>
      )}
      {last && (
        <div className="expression-preview" role="note" aria-label="With the last execution">
          <Shown preview={last.data ? previewOf(value, bare, last.data) : undefined} reason={last.reason} />
        </div>
      )}
    </div>
  );
}
