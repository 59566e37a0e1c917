/** Requests that wait for something to happen to a key, and those who can tell them. A lost wake-up costs a wait, never a message. */
export class WakeUps {
  private readonly waiting = new Map<string, Set<() => void>>();

  /** Resolves when `key` is woken, or after `timeoutMs`. Begin to wait before you look, or you miss what happens between. */
  wait(key: string, timeoutMs: number): { readonly woken: Promise<void>; cancel(): void } {
    const others = this.waiting.get(key) ?? new Set();
    this.waiting.set(key, others);
    const { promise, resolve } = Promise.withResolvers<void>();
    const finish = (): void => {
      clearTimeout(timer);
      others.delete(finish);
      if (others.size === 0 && this.waiting.get(key) === others) this.waiting.delete(key);
      resolve();
    };
    const timer = setTimeout(finish, timeoutMs);
    others.add(finish);
    return { woken: promise, cancel: finish };
  }

  wake(key: string): void {
    for (const finish of this.waiting.get(key) ?? []) finish();
  }

  wakeAll(): void {
    for (const key of this.waiting.keys()) this.wake(key);
  }

  get size(): number {
    return this.waiting.size;
  }
}
