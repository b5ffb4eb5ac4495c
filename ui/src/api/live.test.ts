import { QueryClient, QueryObserver } from '@tanstack/react-query';
import { expect, it } from 'vitest';

import { readAgain } from './live';

it('what was being read for the first time when it changed is read once more', async () => {
  const client = new QueryClient();
  const answers: ((value: string) => void)[] = [];
  const observer = new QueryObserver(client, {
    queryKey: ['execution', 'one', 'tasks'],
    queryFn: () => new Promise<string>((resolve) => answers.push(resolve)),
  });
  const stop = observer.subscribe(() => undefined);
  const read = readAgain(client, 'one');
  expect(answers).toHaveLength(1);
  answers[0]?.('before the end');
  await expect.poll(() => answers.length).toBe(2);
  answers[1]?.('after the end');
  await read;
  expect(observer.getCurrentResult().data).toBe('after the end');

  // What is known already is read once.
  const again = readAgain(client, 'one');
  expect(answers).toHaveLength(3);
  answers[2]?.('later');
  await again;
  expect(answers).toHaveLength(3);
  stop();
  client.clear();
});
