import { QueryClient } from '@tanstack/react-query';

import { isAttended } from './attention';
import { ApiProblem } from './problem';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => count < 2 && error instanceof ApiProblem && error.isRetryable,
      // The window counts as focused while it is attended.
      refetchOnWindowFocus: true,
      refetchOnReconnect: isAttended,
    },
  },
});
