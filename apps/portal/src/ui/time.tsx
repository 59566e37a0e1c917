import { type ReactNode, useSyncExternalStore } from 'react';
import { formatExact, formatRelative } from '../format.js';

let nowMs = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    nowMs = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The time, once a second for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => nowMs);
}

/** A moment: how long ago, and exactly when on hover. */
export function Time({ at, never = 'never' }: { readonly at: string | null; readonly never?: string }): ReactNode {
  const now = useNow();
  if (at === null) return <span className="soft">{never}</span>;
  return (
    <time dateTime={at} title={formatExact(at)} className="nowrap">
      {formatRelative(new Date(at).getTime() - now)}
    </time>
  );
}
