import { useInfiniteQuery } from '@tanstack/react-query';
import { useCallback, useEffect, useMemo } from 'react';

import { isAttended } from '../api/attention';
import type { Attempt, Execution } from '../api/client';
import { tasksQuery } from '../api/queries';

/** How many attempts are read without being scrolled to: the graph shows what happened inside loops by them. */
export const FIRST_ATTEMPTS = 2_000;
/** How long the page is left alone between two pages that nobody scrolled to, in milliseconds. */
const PAUSE = 250;
const NONE: readonly Attempt[] = [];

/**
 * The attempts of an execution: the first page at once, some further ones when that is shown, and the rest as somebody scrolls.
 * They are asked for when the execution is known: what belongs to one that was over when it was first read is over as well.
 */
export function useAttempts(execution: Execution | undefined, isOver: boolean) {
  const list = useInfiniteQuery({
    ...tasksQuery(execution?.id ?? ''),
    enabled: execution !== undefined,
    ...(isOver && { staleTime: Number.POSITIVE_INFINITY }),
  });
  const { data, hasNextPage, isFetching, isError, fetchNextPage } = list;
  const attempts = useMemo(() => data?.pages.flatMap((page) => page.items) ?? NONE, [data]);
  const isShort = attempts.length < FIRST_ATTEMPTS;
  const isFree = hasNextPage && !isFetching;

  useEffect(() => {
    if (!isFree || !isShort || isError) return undefined;
    const timer = setTimeout(() => {
      // Whoever comes back reads it again, and then this goes on.
      if (isAttended()) void fetchNextPage({ cancelRefetch: false });
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [isFree, isShort, isError, fetchNextPage]);

  /** Reads on. While the execution runs all of it is read again and again: that has a bound. */
  const more = useCallback(() => {
    if (isFree && (isOver || isShort)) void fetchNextPage({ cancelRefetch: false });
  }, [isFree, isOver, isShort, fetchNextPage]);

  return { list, attempts, hasMore: hasNextPage, isCut: hasNextPage && !isShort, more };
}
