import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect, useRouterState } from '@tanstack/react-router';

import { readAhead } from './api/queries';
import { queryClient } from './api/queryClient';
import { turnOf } from './executions/travel';
import { admit } from './sign-in/admit';
import { BASE, OPEN_PAGES } from './sign-in/places';
import { sessionQuery } from './sign-in/session';
import { Bare, Shell } from './ui/Shell';
import { Empty, Failed, Loading } from './ui/States';

/** What is written in an address: text, or nothing. */
const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;
const flag = (value: unknown): true | undefined => (value === true || value === 'true' ? true : undefined);

/** Whoever is not signed in has nowhere to go: their pages are without the navigation. */
function Root() {
  const isOpen = useRouterState({ select: ({ matches }) => matches.some(({ routeId }) => OPEN_PAGES.includes(routeId)) });
  return isOpen ? <Bare /> : <Shell />;
}

const root = createRootRoute({
  component: Root,
  // Asked while the page is on its way: it is drawn when both are there.
  loader: ({ location }) => admit(location),
  notFoundComponent: () => <Empty icon="help" title="There is no such page." />,
});

const home = createRoute({
  getParentRoute: () => root,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/dashboard', replace: true });
  },
});

const dashboard = createRoute({
  getParentRoute: () => root,
  path: '/dashboard',
  validateSearch: (search: Record<string, unknown>): { range?: string; workflow?: string } => ({
    ...(text(search['range']) && { range: text(search['range'])! }),
    ...(text(search['workflow']) && { workflow: text(search['workflow'])! }),
  }),
  component: lazyRouteComponent(() => import('./dashboard/Dashboard'), 'Dashboard'),
});

const workflows = createRoute({
  getParentRoute: () => root,
  path: '/workflows',
  validateSearch: (search: Record<string, unknown>): { q?: string; status?: string } => ({
    ...(text(search['q']) && { q: text(search['q'])! }),
    ...(text(search['status']) && { status: text(search['status'])! }),
  }),
  component: lazyRouteComponent(() => import('./workflows/WorkflowList'), 'WorkflowList'),
});

const newWorkflow = createRoute({
  getParentRoute: () => root,
  path: '/workflows/new',
  component: lazyRouteComponent(() => import('./designer/Pages'), 'NewWorkflow'),
});

const editWorkflow = createRoute({
  getParentRoute: () => root,
  path: '/workflows/$id/edit',
  component: lazyRouteComponent(() => import('./designer/Pages'), 'EditWorkflow'),
});

const executions = createRoute({
  getParentRoute: () => root,
  path: '/executions',
  validateSearch: (search: Record<string, unknown>): {
    status?: string;
    workflow?: string;
    tag?: string;
    failing?: true;
    from?: string;
    to?: string;
  } => ({
    ...(text(search['status']) && { status: text(search['status'])! }),
    ...(text(search['workflow']) && { workflow: text(search['workflow'])! }),
    ...(text(search['tag']) && { tag: text(search['tag'])! }),
    ...(flag(search['failing']) && { failing: true as const }),
    ...(text(search['from']) && { from: text(search['from'])! }),
    ...(text(search['to']) && { to: text(search['to'])! }),
  }),
  component: lazyRouteComponent(() => import('./executions/ExecutionList'), 'ExecutionList'),
});

export type MonitorTab = 'timeline' | 'tasks' | 'logs' | 'data' | 'journal' | 'people';
const TABS: readonly string[] = ['timeline', 'tasks', 'logs', 'data', 'journal', 'people'];

const monitor = createRoute({
  getParentRoute: () => root,
  path: '/executions/$id',
  validateSearch: (search: Record<string, unknown>): { tab?: MonitorTab; task?: string; level?: string; find?: string; line?: string; at?: number } => ({
    ...(TABS.includes(String(search['tab'])) && { tab: search['tab'] as MonitorTab }),
    ...(text(search['task']) && { task: text(search['task'])! }),
    ...(text(search['level']) && { level: text(search['level'])! }),
    ...(text(search['find']) && { find: text(search['find'])! }),
    ...(text(search['line']) && { line: text(search['line'])! }),
    ...(turnOf(search['at']) && { at: turnOf(search['at'])! }),
  }),
  // Read while the page itself is on its way. A pointer that only passes a link asks for nothing.
  loader: async ({ params, cause }) => {
    if (cause !== 'enter') return;
    const { state } = await queryClient.ensureQueryData(sessionQuery);
    if (state === 'signed_in') void readAhead(queryClient, params.id);
  },
  component: lazyRouteComponent(() => import('./executions/Monitor'), 'Monitor'),
});

const schedules = createRoute({
  getParentRoute: () => root,
  path: '/schedules',
  validateSearch: (search: Record<string, unknown>): { schedule?: string } => ({
    ...(text(search['schedule']) && { schedule: text(search['schedule'])! }),
  }),
  component: lazyRouteComponent(() => import('./schedules/Schedules'), 'Schedules'),
});

const people = createRoute({
  getParentRoute: () => root,
  path: '/approvals',
  validateSearch: (search: Record<string, unknown>): { status?: string } => ({
    ...(text(search['status']) && { status: text(search['status'])! }),
  }),
  component: lazyRouteComponent(() => import('./people/Approvals'), 'Approvals'),
});

const workers = createRoute({
  getParentRoute: () => root,
  path: '/workers',
  component: lazyRouteComponent(() => import('./system/Workers'), 'Workers'),
});

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (search: Record<string, unknown>): { next?: string } => ({
    ...(text(search['next']) && { next: text(search['next'])! }),
  }),
  component: lazyRouteComponent(() => import('./sign-in/Login'), 'Login'),
});

const setup = createRoute({
  getParentRoute: () => root,
  path: '/setup',
  component: lazyRouteComponent(() => import('./sign-in/Setup'), 'Setup'),
});

const me = createRoute({
  getParentRoute: () => root,
  path: '/me',
  component: lazyRouteComponent(() => import('./sign-in/Me'), 'Me'),
});

export const router = createRouter({
  routeTree: root.addChildren([home, dashboard, workflows, newWorkflow, editWorkflow, executions, monitor, schedules, people, workers, login, setup, me]),
  basepath: BASE,
  defaultPreload: 'intent',
  defaultPendingComponent: () => <Loading />,
  defaultErrorComponent: ({ error, reset }) => <Failed error={error} retry={reset} />,
  scrollRestoration: false,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
