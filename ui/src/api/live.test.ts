import { QueryClient, QueryObserver } from '@tanstack/react-query';
import { expect, it } from 'vitest';

import { isReadAfterEnd, readAgain } from './live';
import { executionQuery } from './queries';

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

it('what was over when it was first read is not read again', async () => {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const put = (id: string, status: string) => client.setQueryData(executionQuery(id).queryKey, { id, status } as never);
  put('over', 'completed');
  expect(await isReadAfterEnd(client, 'over')).toBe(true);
  put('open', 'running');
  expect(await isReadAfterEnd(client, 'open')).toBe(false);
  // It ended while it was watched: what belongs to it may have been read before that.
  put('open', 'failed');
  expect(await isReadAfterEnd(client, 'open')).toBe(false);
  client.clear();
});
