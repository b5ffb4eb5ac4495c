import { expect, it } from 'vitest';

import type { Attempt } from '../api/client';
import { attemptsAt, strideOf, turnOf, within } from './travel';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const ms = (second: number) => Date.parse(at(second));
const attempt = (given: Partial<Attempt>) => ({ component: 'a', attempt: 1, dispatches: 1, status: 'completed', ...given }) as Attempt;

it('an attempt is what it was at that moment', () => {
  const whole = attempt({ dispatched_at: at(1), started_at: at(2), finished_at: at(4), duration_ms: 2_000, output: { n: 1 }, ports: ['true'] });
  expect(attemptsAt([whole], ms(0))).toEqual([]);
  expect(attemptsAt([whole], ms(1))[0]).toMatchObject({ status: 'dispatched', started_at: null, finished_at: null });
  const running = attemptsAt([whole], ms(3))[0];
  expect(running).toMatchObject({ status: 'running', started_at: at(2), finished_at: null, duration_ms: null, ports: [] });
  expect(running).not.toHaveProperty('output');
  expect(attemptsAt([whole], ms(4))).toEqual([whole]);
});

it('what is not over is as it is, and what was carried was there from the beginning', () => {
  const asked = attempt({ status: 'asked', dispatched_at: at(1), started_at: at(1) });
  expect(attemptsAt([asked], ms(9))).toEqual([asked]);
  const carried = attempt({ carried_from: 'execution_1' });
  expect(attemptsAt([carried, attempt({ status: 'ready' })], ms(0))).toEqual([carried]);
});

it('turns stay within the journal, and a long one is played in strides', () => {
  expect([within(0, 9), within(12, 9), within(4.4, 9), within(5, 0)]).toEqual([1, 9, 4, 1]);
  expect([strideOf(1), strideOf(60), strideOf(61), strideOf(10_000)]).toEqual([1, 1, 2, 167]);
});

it('an address names a turn, or none', () => {
  expect([turnOf('7'), turnOf(7), turnOf('0'), turnOf('-1'), turnOf('x'), turnOf(1.5), turnOf(undefined), turnOf('9999999999')]).toEqual([
    7, 7, undefined, undefined, undefined, undefined, undefined, undefined,
  ]);
});
