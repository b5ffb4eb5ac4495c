import { useQuery } from '@tanstack/react-query';

import { answer, api, type Mistake } from '../api/client';
import { useRested } from '../ui/Time';

const NONE: readonly Mistake[] = [];

/** What the server says of a document, a moment after the last change. A newer question cancels an older one. */
export function useValidation(text: string): { problems: readonly Mistake[]; warnings: readonly Mistake[]; isCurrent: boolean; error: Error | null } {
  const rested = useRested(text, 300);
  const asked = useQuery({
    queryKey: ['validation', rested],
    queryFn: ({ signal }) => answer(api.POST('/api/v1/workflows/validate', { body: { definition: rested }, signal })),
    staleTime: Infinity,
    gcTime: 60_000,
    placeholderData: (before) => before,
  });
  return {
    problems: asked.data?.problems ?? NONE,
    warnings: asked.data?.warnings ?? NONE,
    isCurrent: rested === text && !asked.isPlaceholderData && asked.isSuccess,
    error: asked.error,
  };
}
