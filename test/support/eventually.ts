const POLL_MS = 20;

/** Waits until `check` returns true, or something not undefined; throws after `deadlineMs`. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs = 30_000,
): Promise<T> {
  const startedMs = performance.now();
  for (;;) {
    const result = await check();
    if (result !== undefined && result !== false) return result;
    if (performance.now() - startedMs > deadlineMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
