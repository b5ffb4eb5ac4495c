import { ActionIcon, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { Link, Outlet, useRouterState } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useState } from 'react';

import { healthQuery, humanTasksQuery } from '../api/queries';
import { useGuided } from '../first-minute/guided';
import { useIsAsked, closeSheet } from '../sign-in/asked';
import { usePermission } from '../sign-in/permission';
import { Person } from '../sign-in/Person';
import { Icon, type IconName } from './Icon';
import { Notices } from './Notices';
import { onDemand } from './onDemand';
import { ErrorBoundary } from './States';

/** How long after the first sight of a page the palette is fetched, in milliseconds. */
const PALETTE_AFTER = 300;
const loadPalette = () => import('./CommandPalette').then((part) => part.CommandPalette);

/** Takes what is typed while the palette is on its way. */
function PaletteField({ query, setQuery, close }: { opened: boolean; close: () => void; query: string; setQuery: (query: string) => void }) {
  return (
    <input
      className="palette-field"
      aria-label="Search or do something"
      placeholder="Search or do something"
      autoFocus
      value={query}
      onChange={(event) => setQuery(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key === 'Escape') close();
      }}
    />
  );
}
const CommandPalette = onDemand(loadPalette, PaletteField);
const SideMenu = onDemand(() => import('./SideMenu').then((part) => part.SideMenu));

const Sheet = onDemand(() => import('../sign-in/Sheet').then((part) => part.Sheet));

const Guide = lazy(() => import('../first-minute/Guide'));
const Hints = lazy(() => import('./Hints').then((part) => ({ default: part.Hints })));

const PAGES: { to: string; icon: IconName; label: string }[] = [
  { to: '/dashboard', icon: 'chart', label: 'Dashboard' },
  { to: '/workflows', icon: 'flow', label: 'Workflows' },
  { to: '/executions', icon: 'list', label: 'Executions' },
  { to: '/schedules', icon: 'clock', label: 'Schedules' },
  { to: '/approvals', icon: 'person', label: 'Approvals' },
  { to: '/workers', icon: 'server', label: 'Workers' },
];

/** The pages there are, with what waits for people. */
export function Navigation({ onGo }: { onGo?: () => void }) {
  const { data: open } = useQuery({ ...humanTasksQuery({ status: 'open' }), refetchInterval: 15_000 });
  const waiting = open?.items.length ?? 0;
  const mayLookAfter = usePermission('admin.system') === undefined;
  return (
    <nav className="navigation" aria-label="Pages">
      {PAGES.filter(({ to }) => mayLookAfter || to !== '/workers').map(({ to, icon, label }) => (
        <Link key={to} to={to} className="navigation-link" activeProps={{ className: 'is-active' }} {...(onGo && { onClick: onGo })}>
          <Icon name={icon} />
          <span>{label}</span>
          {to === '/approvals' && waiting > 0 && (
            <span className="count" aria-label={`${waiting} open`}>
              {waiting}
            </span>
          )}
        </Link>
      ))}
      <a className="navigation-link" href="/api/v1/docs">
        <Icon name="book" />
        <span>API reference</span>
      </a>
    </nav>
  );
}

function Theme() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const other = scheme === 'dark' ? 'light' : 'dark';
  return (
    <ActionIcon data-hint={`Switch to ${other}`} variant="subtle" color="gray" aria-label={`Switch to ${other} colours`} onClick={() => setColorScheme(other)}>
      <Icon name={scheme === 'dark' ? 'sun' : 'moon'} />
    </ActionIcon>
  );
}

function Health() {
  const { data, error } = useQuery(healthQuery);
  const status = error ? 'down' : data?.status;
  if (!status || status === 'ok') return null;
  return (
    <Link to="/workers" className={`health tone-${status === 'degraded' ? 'warn' : 'bad'}`}>
      <Icon name="alert" size={14} />
      <span>{error ? 'The server does not answer' : `The server is ${status}`}</span>
    </Link>
  );
}

/** What is around every page: navigation, search over everything, the theme, and whether the server is well. */
export function Shell() {
  const [opened, menu] = useDisclosure(false);
  const [searching, setSearching] = useState(false);
  const [query, setQuery] = useState('');
  const { workflow: guided } = useGuided();
  const path = useRouterState({ select: (state) => state.location.pathname });

  useEffect(() => menu.close(), [path]); // eslint-disable-line react-hooks/exhaustive-deps -- only a new page closes it
  useEffect(() => {
    // Fetched soon after the page. When that does not succeed, opening it tries again and says so.
    const idle = setTimeout(() => void loadPalette().catch(() => undefined), PALETTE_AFTER);
    return () => clearTimeout(idle);
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || event.key.toLowerCase() !== 'k') return;
      event.preventDefault();
      setSearching((before) => !before);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  useEffect(() => {
    if (!searching) return undefined;
    // While one field takes the place of the other nothing has the focus, and what is typed would be lost.
    const onKey = (event: KeyboardEvent) => {
      const isText = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (isText && document.activeElement === document.body) setQuery((before) => before + event.key);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [searching]);

  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="bar">
        <ActionIcon className="only-narrow" variant="subtle" color="gray" onClick={menu.open} aria-label="Open the menu">
          <Icon name="menu" />
        </ActionIcon>
        <Link to="/dashboard" className="brand" aria-label="APG Workflow Orchestration">
          <svg width="20" height="20" viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="7" className="brand-back" />
            <path d="M9 16h6l5-6M15 16l5 6" stroke="#fff" strokeWidth="2.4" fill="none" strokeLinecap="round" />
            <circle cx="8" cy="16" r="3" fill="#fff" />
            <circle cx="23" cy="9" r="3" fill="#fff" />
            <circle cx="23" cy="23" r="3" fill="#fff" />
          </svg>
          <span>APG</span>
        </Link>
        <button type="button" className="search-all" onClick={() => setSearching(true)}>
          <Icon name="search" size={14} />
          <span className="search-all-text">Search or do something</span>
          <kbd>Ctrl K</kbd>
        </button>
        <span className="spacer" />
        <Health />
        <Theme />
        <Person />
      </header>
      <div className="side only-wide">
        <Navigation />
      </div>
      <SideMenu opened={opened} close={menu.close} />
      <main id="main" className="main" tabIndex={-1}>
        {guided !== undefined && (
          <ErrorBoundary>
            <Suspense fallback={null}>
              <Guide workflow={guided} />
            </Suspense>
          </ErrorBoundary>
        )}
        <ErrorBoundary key={path}>
          <Outlet />
        </ErrorBoundary>
      </main>
      <CommandPalette opened={searching} close={() => setSearching(false)} query={query} setQuery={setQuery} />
      <Sheet opened={useIsAsked()} close={closeSheet} />
      <Notices />
      <Suspense fallback={null}>
        <Hints />
      </Suspense>
    </div>
  );
}

/** What is around a page for those who are not signed in. */
export function Bare() {
  return (
    <>
      <main id="main" className="main bare" tabIndex={-1}>
        <ErrorBoundary>
          <Outlet />
        </ErrorBoundary>
      </main>
      <Notices />
    </>
  );
}
