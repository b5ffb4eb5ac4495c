import { environmentManager, focusManager, QueryClient, QueryObserver } from '@tanstack/react-query';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { attend, BEAT, beAbout, isAttended, LEFT_AFTER, onReturn } from './attention';

const MINUTE = 60_000;
let client: QueryClient;
let window: EventTarget;
let seen: { visibilityState: 'visible' | 'hidden' };
let asked: string[];
const leave: (() => void)[] = [];

/** A query that is shown, and polled each `every` milliseconds. */
function show(name: string, every: number | false, isOfPage = false): void {
  const options = {
    queryKey: [name],
    queryFn: () => {
      asked.push(name);
      return Promise.resolve(asked.length);
    },
    staleTime: 5_000,
    refetchInterval: every,
  };
  leave.push(new QueryObserver(client, options).subscribe(() => undefined));
  if (isOfPage) leave.push(beAbout(JSON.stringify(options.queryKey)));
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const touch = (type: string, place?: { screenX: number; screenY: number }) => window.dispatchEvent(Object.assign(new Event(type), place));
function look(visibilityState: 'visible' | 'hidden'): void {
  seen.visibilityState = visibilityState;
  window.dispatchEvent(new Event('visibilitychange'));
}
const during = async (ms: number) => {
  asked = [];
  await pass(ms);
  return asked;
};

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  window = new EventTarget();
  seen = { visibilityState: 'visible' };
  asked = [];
  vi.stubGlobal('document', seen);
  vi.stubGlobal('addEventListener', window.addEventListener.bind(window));
  vi.stubGlobal('removeEventListener', window.removeEventListener.bind(window));
  // A server would not poll.
  environmentManager.setIsServer(() => false);
  client = new QueryClient();
  client.mount();
  attend(client);
});
afterEach(() => {
  for (const each of leave.splice(0)) each();
  client.unmount();
  client.clear();
  environmentManager.setIsServer(() => true);
  focusManager.setEventListener(() => undefined);
  focusManager.setFocused(undefined);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it('polls as often as pages say while somebody is there', async () => {
  show('list', 5_000, true);
  show('health', 15_000);
  await pass(0);
  expect((await during(59_000)).length).toBeGreaterThan(12);
  touch('keydown');
  expect((await during(59_000)).length).toBeGreaterThan(12);
  expect(isAttended()).toBe(true);
});

it('asks for one thing a minute when nobody touches it, and only for what the page is about', async () => {
  show('list', 5_000, true);
  show('health', 15_000);
  show('count', 15_000);
  await pass(LEFT_AFTER + 1);
  expect(isAttended()).toBe(false);
  for (let minute = 0; minute < 10; minute += 1) expect((await during(MINUTE)).length).toBeLessThanOrEqual(1);
  asked = [];
  await pass(10 * BEAT);
  expect(asked).toEqual(Array(10).fill('list'));
});

it('takes turns where a page is about several things', async () => {
  show('figures', 10_000, true);
  show('failed', 10_000, true);
  await pass(LEFT_AFTER + 1);
  expect([...(await during(4 * BEAT))].sort()).toEqual(['failed', 'failed', 'figures', 'figures']);
});

it('asks for nothing where the page is about nothing, or about a list of which more than one page is open', async () => {
  show('health', 15_000);
  leave.push(beAbout('["long"]'));
  client.setQueryData(['long'], { pages: [1, 2], pageParams: [1, 2] });
  leave.push(new QueryObserver(client, { queryKey: ['long'], queryFn: () => asked.push('long'), staleTime: Infinity }).subscribe(() => undefined));
  await pass(LEFT_AFTER + 1);
  expect(await during(10 * MINUTE)).toEqual([]);
});

it.each(['pointerdown', 'keydown', 'wheel', 'focus'])('a touch asks for all that is old at once: %s', async (type) => {
  let returns = 0;
  leave.push(onReturn(() => (returns += 1)));
  show('list', 5_000, true);
  show('health', 15_000);
  show('session', false);
  await pass(LEFT_AFTER + MINUTE);
  asked = [];
  touch(type);
  await pass(0);
  expect([...asked].sort()).toEqual(['health', 'list', 'session']);
  expect(returns).toBe(1);
  expect((await during(30_000)).length).toBeGreaterThan(6);
});

it('a pointer that rests is no touch', async () => {
  const place = { screenX: 10, screenY: 20 };
  touch('pointermove', place);
  show('list', 5_000, true);
  await pass(LEFT_AFTER + 1);
  touch('pointermove', place);
  expect(isAttended()).toBe(false);
  touch('pointermove', { screenX: 11, screenY: 20 });
  expect(isAttended()).toBe(true);
});

it('asks for nothing while it is hidden, and for all that is old when it is seen again', async () => {
  show('list', 5_000, true);
  show('health', 15_000);
  await pass(1_000);
  look('hidden');
  expect(await during(30 * MINUTE)).toEqual([]);
  asked = [];
  look('visible');
  await pass(0);
  expect([...asked].sort()).toEqual(['health', 'list']);
  // Seen again is as good as touched.
  expect((await during(50_000)).length).toBeGreaterThan(8);
  await pass(LEFT_AFTER);
  expect(isAttended()).toBe(false);
});
