import { autocompletion, completionKeymap, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { yaml } from '@codemirror/lang-yaml';
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { EditorState, StateEffect, StateField, Transaction } from '@codemirror/state';
import { Decoration, type DecorationSet, drawSelection, EditorView, highlightActiveLine, hoverTooltip, keymap, lineNumbers, WidgetType } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';

import type { Mistake } from '../api/client';
import type { Person } from '../collab/people';
import { brief, referenceAround, suggest, typedReference, valueOf, writtenAt } from '../model/expressions';
import { nonce } from '../nonce';
import type { LastData } from '../schema-form/lastData';
import { lastLineEnds } from './lastLine';
import { said } from './problems';

const THEME = EditorView.theme({
  '&': { height: '100%', fontSize: '0.75rem', backgroundColor: 'var(--panel)', color: 'var(--text)' },
  '.cm-scroller': { fontFamily: 'var(--mantine-font-family-monospace)', lineHeight: '1.55' },
  '.cm-gutters': { backgroundColor: 'var(--panel)', color: 'var(--dim)', border: 'none' },
  '.cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--accent-soft) 45%, transparent)' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': { backgroundColor: 'var(--accent-soft) !important' },
  '.cm-tooltip': { backgroundColor: 'var(--raised)', color: 'var(--text)', border: '1px solid var(--line-strong)' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent-soft)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--dim)', fontStyle: 'normal', marginLeft: '1.5em' },
  '.cm-content': { caretColor: 'var(--text)' },
});

const COLOURS = HighlightStyle.define([
  { tag: tags.propertyName, color: 'var(--accent)' },
  { tag: tags.definition(tags.propertyName), color: 'var(--accent)' },
  { tag: tags.string, color: 'var(--good)' },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: 'var(--wait)' },
  { tag: tags.comment, color: 'var(--dim)', fontStyle: 'italic' },
  { tag: tags.punctuation, color: 'var(--dim)' },
]);

/** Where somebody else writes. */
class Caret extends WidgetType {
  constructor(
    private readonly name: string,
    private readonly colour: number,
  ) {
    super();
  }
  override eq(other: Caret): boolean {
    return other.name === this.name && other.colour === this.colour;
  }
  toDOM(): HTMLElement {
    const dom = document.createElement('span');
    dom.className = `source-caret person-${this.colour}`;
    const name = dom.appendChild(document.createElement('span'));
    name.className = 'person-name';
    name.textContent = this.name;
    return dom;
  }
}

const setCarets = StateEffect.define<DecorationSet>();
const CARETS = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update: (carets, transaction) => transaction.effects.find((each) => each.is(setCarets))?.value ?? carets.map(transaction.changes),
  provide: (field) => EditorView.decorations.from(field),
});

/** How long typing rests before the text is taken over, in milliseconds. */
const REST = 300;

/** The document as text. What is typed is taken over once it can be read; until then it stays here, and the drawing as it was. */
export default function Source({
  text,
  mistakes,
  onChange,
  onLine,
  goTo,
  references,
  last,
  people,
  onCaret,
}: {
  text: string;
  mistakes: Mistake[];
  /** What was typed, and the text that it was typed into. */
  onChange: (text: string, base: string) => void;
  /** The line, from 1, that the cursor was put on. */
  onLine: (line: number) => void;
  /** The line to show; a new object shows it again. */
  goTo: { line: number } | undefined;
  /** What an expression on a line, from 1, may name. */
  references: (line: number) => string[];
  last: LastData;
  people: readonly Person[];
  /** Where the cursor is, line and column from 1; nowhere when somebody writes elsewhere. */
  onCaret: (at: [number, number] | undefined) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | undefined>(undefined);
  const callbacks = useRef({ onChange, onLine, onCaret, references, last, text });
  callbacks.current = { onChange, onLine, onCaret, references, last, text };
  /** What was last given to or taken from the document: nothing else is news. */
  const agreed = useRef(text);

  useEffect(() => {
    if (!box.current) return;
    /** What a reference may become, where one is being typed. */
    const complete = ({ state, pos, explicit }: CompletionContext): CompletionResult | null => {
      const line = state.doc.lineAt(pos);
      const written = writtenAt(line.text, pos - line.from);
      if (written === undefined) return null;
      const typed = typedReference(written);
      if (typed === '' && !explicit) return null;
      callbacks.current.last.want();
      const options = suggest(typed, callbacks.current.references(line.number), callbacks.current.last.data);
      return {
        from: pos - typed.length,
        filter: false,
        options: options.map(({ path, last: was }) => ({ label: path, type: 'variable', ...(was && { detail: was }) })),
      };
    };
    /** What a reference stood for last, where the pointer rests on it. */
    const look = hoverTooltip((shown, pos) => {
      const line = shown.state.doc.lineAt(pos);
      const found = referenceAround(line.text, pos - line.from);
      if (!found) return null;
      callbacks.current.last.want();
      const words = () => {
        const { data, reason } = callbacks.current.last;
        if (data === undefined) return reason;
        const value = valueOf(found.path, data);
        return value === undefined ? 'no value in the last execution' : `last: ${brief(value, 200) || '(empty)'}`;
      };
      return {
        pos: line.from + found.from,
        end: line.from + found.to,
        above: true,
        create: () => {
          const dom = document.createElement('div');
          dom.className = 'source-look';
          const write = () => {
            dom.textContent = words();
          };
          write();
          return { dom, update: write };
        },
      };
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hand = (typed: string) => {
      const base = agreed.current;
      agreed.current = typed;
      callbacks.current.onChange(typed, base);
    };
    const editor = new EditorView({
      parent: box.current,
      state: EditorState.create({
        doc: text,
        extensions: [
          EditorView.cspNonce.of(nonce()),
          EditorView.contentAttributes.of({ 'aria-label': 'The workflow as YAML' }),
          lineNumbers(),
          foldGutter(),
          lintGutter(),
          history(),
          drawSelection(),
          CARETS,
          lastLineEnds,
          indentOnInput(),
          bracketMatching(),
          highlightActiveLine(),
          autocompletion({ override: [complete], icons: false }),
          look,
          yaml(),
          syntaxHighlighting(COLOURS),
          THEME,
          // Escape, then Tab leaves the field: nobody is caught in it.
          keymap.of([...completionKeymap, ...defaultKeymap, ...historyKeymap, indentWithTab]),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) {
              clearTimeout(timer);
              const typed = update.state.doc.toString();
              if (typed === agreed.current) return;
              timer = setTimeout(() => hand(typed), REST);
            }
            if (update.selectionSet || update.focusChanged || update.docChanged) {
              const { head } = update.state.selection.main;
              const line = update.state.doc.lineAt(head);
              callbacks.current.onCaret(update.view.hasFocus ? [line.number, head - line.from + 1] : undefined);
            }
            if (update.docChanged) return;
            if (update.selectionSet && update.view.hasFocus) {
              callbacks.current.onLine(update.state.doc.lineAt(update.state.selection.main.head).number);
            }
          }),
        ],
      }),
    });
    view.current = editor;
    return () => {
      clearTimeout(timer);
      // What was typed right before the panel closes counts as well.
      const typed = editor.state.doc.toString();
      if (typed !== agreed.current) hand(typed);
      callbacks.current.onCaret(undefined);
      editor.destroy();
      view.current = undefined;
    };
  }, []); // eslint-disable-line react-hooks/exhaustive-deps -- one editor for the life of this panel; the text comes below

  useEffect(() => {
    const editor = view.current;
    if (!editor || text === agreed.current) return;
    const before = editor.state.doc.toString();
    // While something is typed that was not handed over, others' changes wait: handing it over brings both together.
    if (before !== agreed.current) return;
    agreed.current = text;
    // Only what is different is replaced, so that the cursor stays where it is.
    let start = 0;
    while (start < before.length && start < text.length && before[start] === text[start]) start += 1;
    let end = 0;
    while (end < before.length - start && end < text.length - start && before[before.length - 1 - end] === text[text.length - 1 - end]) end += 1;
    editor.dispatch({
      changes: { from: start, to: before.length - end, insert: text.slice(start, text.length - end) },
      // What others wrote is not taken back by this person.
      annotations: Transaction.addToHistory.of(false),
    });
  }, [text]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const { doc } = editor.state;
    const carets = people.flatMap(({ name, colour, line: at }) => {
      if (!at || at[0] < 1 || at[0] > doc.lines) return [];
      const line = doc.line(Math.trunc(at[0]));
      const place = Math.max(line.from, Math.min(line.to, line.from + Math.trunc(at[1]) - 1));
      return [Decoration.widget({ widget: new Caret(name, colour), side: 1 }).range(place)];
    });
    // Mostly nobody else writes, and each update takes away what is shown under the pointer.
    if (carets.length === 0 && editor.state.field(CARETS).size === 0) return;
    editor.dispatch({ effects: setCarets.of(Decoration.set(carets, true)) });
  }, [people, text]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const { doc } = editor.state;
    const marks: Diagnostic[] = mistakes.flatMap((mistake) => {
      if (!mistake.line || mistake.line > doc.lines) return [];
      const line = doc.line(mistake.line);
      const from = Math.min(line.to, line.from + Math.max(0, (mistake.column ?? 1) - 1));
      return [{ from, to: line.to, severity: mistake.severity === 'warning' ? ('warning' as const) : ('error' as const), message: said(mistake) }];
    });
    editor.dispatch(setDiagnostics(editor.state, marks));
  }, [mistakes]);

  // What is shown under the pointer waits for the data, and is written anew with an update.
  useEffect(() => view.current?.dispatch({}), [last]);

  useEffect(() => {
    const editor = view.current;
    if (!editor || !goTo || editor.hasFocus) return;
    const line = editor.state.doc.line(Math.max(1, Math.min(goTo.line, editor.state.doc.lines)));
    editor.dispatch({ selection: { anchor: line.from }, effects: EditorView.scrollIntoView(line.from, { y: 'start', yMargin: 40 }) });
  }, [goTo]);

  return <div className="source-editor" ref={box} />;
}
