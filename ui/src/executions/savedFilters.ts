/** Filters of a list as they stand in its address. */
export type Filters = Record<string, string | true>;

/** Filters with a name, kept in this browser. */
export interface SavedFilters {
  name: string;
  filters: Filters;
}

const KEY = 'apg.filters.executions';
/** More than these would be a list of their own to search in. */
export const MOST_SAVED = 20;

/** What was kept; what cannot be read is left out. */
export function parseSaved(text: string | null): SavedFilters[] {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  return value.filter(
    (each: unknown): each is SavedFilters =>
      typeof each === 'object' &&
      each !== null &&
      typeof (each as SavedFilters).name === 'string' &&
      typeof (each as SavedFilters).filters === 'object' &&
      Object.values((each as SavedFilters).filters ?? {}).every((one) => typeof one === 'string' || one === true),
  );
}

/** Adds filters under a name; those that had it are replaced, and the oldest make room. */
export function withSaved(list: readonly SavedFilters[], added: SavedFilters): SavedFilters[] {
  return [...list.filter((each) => each.name !== added.name), added].slice(-MOST_SAVED);
}

const inOrder = (filters: Filters) => JSON.stringify(Object.entries(filters).sort(([a], [b]) => a.localeCompare(b)));

/** Whether two sets of filters choose the same. */
export function sameFilters(a: Filters, b: Filters): boolean {
  return inOrder(a) === inOrder(b);
}

export function loadSaved(): SavedFilters[] {
  return parseSaved(localStorage.getItem(KEY));
}

/** Keeps them in this browser; false when it takes nothing more. */
export function keepSaved(list: readonly SavedFilters[]): boolean {
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
    return true;
  } catch {
    return false;
  }
}
