/** Somebody who has the same document open. */
export interface Person {
  id: number;
  name: string;
  /** A number from 0 below [COLOURS], for `--person-<n>`. */
  colour: number;
  /** Components they have selected. */
  selection: readonly string[];
  /** Where their pointer is on the drawing. */
  at: readonly [x: number, y: number] | undefined;
  /** Where they are in the source: line and column, from 1. */
  line: readonly [line: number, column: number] | undefined;
}

/** Where somebody is. */
export type Place = Pick<Person, 'selection' | 'at' | 'line'>;

export const COLOURS = 6;

/** Nobody else. */
export const NOBODY: readonly Person[] = [];
