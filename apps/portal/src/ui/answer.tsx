import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { messageOf, PlatformError } from '#libs/kernel';

/** What a person can do about it. */
const ADVICE: Readonly<Record<string, string>> = {
  unavailable: 'This page tries again by itself.',
  unauthenticated: 'Sign in again.',
  forbidden: 'Your role does not allow this; ask an administrator of yours.',
  'not-found': 'It may have been removed meanwhile.',
  conflict: 'Look at its present state, then decide again.',
  exhausted: 'Wait a little, then try again.',
  corrupt: 'Give the reference to your provider.',
  // By code where the kind alone says too little.
  'login.refused': 'Check them, then try again.',
};

export function ErrorNotice({ error, action }: { readonly error: unknown; readonly action?: ReactNode }): ReactNode {
  const code = error instanceof PlatformError ? error.code : 'portal.fault';
  const kind = error instanceof PlatformError ? error.kind : 'corrupt';
  return (
    <div className="notice bad" role="alert">
      <div>
        <p>
          {sentence(messageOf(error))} {ADVICE[code] ?? ADVICE[kind]}
        </p>
        {issuesOf(error).map((issue) => (
          <p key={issue} className="small">
            {issue}
          </p>
        ))}
        <p className="small">
          <code>{code}</code>
        </p>
      </div>
      {action}
    </div>
  );
}

function sentence(text: string): string {
  const trimmed = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/** Which fields of a form the api did not like. */
function issuesOf(error: unknown): string[] {
  if (!(error instanceof PlatformError) || error.code !== 'request.invalid') return [];
  const issues = error.details['issues'];
  if (!Array.isArray(issues)) return [];
  return (issues as { path?: unknown; message?: unknown }[]).map(({ path, message }) => `${String(path)}: ${String(message)}`);
}

export function Skeleton({ lines = 4 }: { readonly lines?: number }): ReactNode {
  return (
    <div className="card card-body stack" aria-busy="true" aria-label="Loading">
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} className="skeleton" style={{ width: `${92 - ((index * 29) % 50)}%` }} />
      ))}
    </div>
  );
}

interface AnswerProps<T> {
  readonly query: UseQueryResult<T>;
  readonly lines?: number;
  readonly children: (data: T) => ReactNode;
}

/** What a query knows: its skeleton, its data, its error; and old data with a word of warning while the api does not answer. */
export function Answer<T>({ query, lines, children }: AnswerProps<T>): ReactNode {
  const { data, error, isPending } = query;
  if (isPending) return <Skeleton {...(lines === undefined ? {} : { lines })} />;
  if (data === undefined) return <ErrorNotice error={error} action={<Retry query={query} />} />;
  return (
    <>
      {error === null ? null : (
        <div className="notice warn" role="status">
          <p>What you see may be out of date: {messageOf(error)}. Trying again.</p>
        </div>
      )}
      {children(data)}
    </>
  );
}

function Retry({ query }: { readonly query: Pick<UseQueryResult, 'refetch' | 'isFetching'> }): ReactNode {
  return (
    <button type="button" className="button small" disabled={query.isFetching} onClick={() => void query.refetch()}>
      Try again
    </button>
  );
}

interface EmptyProps {
  readonly title: string;
  readonly children?: ReactNode;
  readonly action?: ReactNode;
}

export function Empty({ title, children, action }: EmptyProps): ReactNode {
  return (
    <div className="empty">
      <h3>{title}</h3>
      {children === undefined ? null : <p>{children}</p>}
      {action}
    </div>
  );
}
