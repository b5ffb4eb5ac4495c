/** The list there was before, when nothing in it is different: what was made of it stays as it is, then. */
export function unchanged<T>(before: T[], next: T[], isSame: (a: T, b: T) => boolean): T[] {
  return before.length === next.length && next.every((each, at) => isSame(each, before[at] as T)) ? before : next;
}
