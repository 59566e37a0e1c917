import { QueryClient } from '@tanstack/react-query';
import { HoldfastClient } from '#libs/client';
import { PlatformError } from '#libs/kernel';

export const client = new HoldfastClient({ baseUrl: window.location.origin });

/** How often a page that is looked at asks again. */
export const POLL_MS = 2_000;
export const POLL_FAILOVER_MS = 1_000;
export const POLL_SLOW_MS = 10_000;

export function newQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // Polling repeats soon enough; a page that has nothing yet tries once more before it says so.
        retry: (count, error) => count < 1 && error instanceof PlatformError && error.isRetryable,
        retryDelay: 500,
        refetchOnWindowFocus: true,
      },
    },
  });
}
