import { QueryClient } from '@tanstack/react-query';

import { ApiProblem } from './problem';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => count < 2 && error instanceof ApiProblem && error.isRetryable,
      refetchOnWindowFocus: true,
    },
  },
});
