import { notifications } from '@mantine/notifications';

import { ApiProblem } from '../api/client';

/** Says what went wrong, with the request's id. */
export function sayProblem(title: string, error: unknown): void {
  const problem = error instanceof ApiProblem ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  notifications.show({
    color: 'red',
    title,
    message: problem?.traceId ? `${message} (request ${problem.traceId})` : message,
    autoClose: 10_000,
  });
}

export function say(message: string): void {
  notifications.show({ message, autoClose: 4_000 });
}
