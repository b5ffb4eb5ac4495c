/** Where the pages are. */
export const BASE = '/workflow_orchestration';
const HOME = `${BASE}/dashboard`;
/** Pages for whoever is not signed in. */
export const OPEN_PAGES: readonly string[] = ['/login', '/setup'];

/** Where somebody goes after signing in: a page of ours that they wanted to see, else the dashboard. */
export function returnPath(wanted: unknown, origin: string): string {
  if (typeof wanted !== 'string' || !URL.canParse(wanted, origin)) return HOME;
  const url = new URL(wanted, origin);
  const isOurs = url.origin === origin && url.pathname.startsWith(`${BASE}/`);
  if (!isOurs || OPEN_PAGES.includes(url.pathname.slice(BASE.length))) return HOME;
  return url.pathname + url.search + url.hash;
}
