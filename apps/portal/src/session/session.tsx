import { useQuery, useQueryClient } from '@tanstack/react-query';
import { createContext, type ReactNode, use, useEffect, useMemo } from 'react';
import type { MeView } from '#libs/contracts/http';
import { PlatformError } from '#libs/kernel';
import { client } from '../api.js';
import { ErrorNotice } from '../ui/answer.js';
import { SignInPage } from './sign-in-page.js';

export interface Session {
  readonly me: MeView;
  /** Hides what the api would refuse anyhow. */
  may(permission: string): boolean;
  logOut(): void;
}

const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = use(SessionContext);
  if (session === null) throw new Error('there is a session around every page');
  return session;
}

const isSignedOut = (error: unknown): boolean => error instanceof PlatformError && error.kind === 'unauthenticated';

/** Shows the pages to somebody who is signed in, and the sign-in to everybody else. */
export function SessionGate({ children }: { readonly children: ReactNode }): ReactNode {
  const queries = useQueryClient();
  const { data, error, refetch } = useQuery<MeView | null>({
    queryKey: ['me'],
    queryFn: async ({ signal }) => {
      try {
        return await client.auth.me({ signal });
      } catch (caught) {
        if (isSignedOut(caught)) return null;
        throw caught;
      }
    },
  });

  useEffect(
    () =>
      queries.getQueryCache().subscribe(({ query }) => {
        // The session ended elsewhere, or ran out: what was shown must not stay on the screen.
        if (query.queryKey[0] !== 'me' && isSignedOut(query.state.error)) forget();
      }),
    [queries],
  );
  const forget = (): void => {
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'me' });
    queries.setQueryData(['me'], null);
  };

  const session = useMemo<Session | null>(
    () =>
      data === undefined || data === null
        ? null
        : {
            me: data,
            may: (permission) => data.permissions.includes(permission),
            logOut: () =>
              void client.auth
                .logOut()
                .catch(() => undefined)
                .finally(forget),
          },
    [data],
  );
  if (session !== null) return <SessionContext value={session}>{children}</SessionContext>;
  if (data === null) return <SignInPage onSignedIn={(me) => queries.setQueryData(['me'], me)} />;
  if (error === null) return null;
  return (
    <main>
      <ErrorNotice
        error={error}
        action={
          <button type="button" className="button small" onClick={() => void refetch()}>
            Try again
          </button>
        }
      />
    </main>
  );
}
