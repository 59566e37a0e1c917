export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** An event longer than this is not one of ours. */
const EVENT_CHARS_MAX = 4 * 1024 * 1024;

/** The events of a `text/event-stream`, until it ends or its reader stops. A body that breaks off throws. */
export async function* readServerEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffered = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffered += decoder.decode(value, { stream: true });
      let end = buffered.indexOf('\n\n');
      for (; end !== -1; end = buffered.indexOf('\n\n')) {
        const event = parseEvent(buffered.slice(0, end));
        buffered = buffered.slice(end + 2);
        if (event !== undefined) yield event;
      }
      if (buffered.length > EVENT_CHARS_MAX) throw new Error('an event is too long');
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Undefined for a comment, which only keeps the connection alive. */
function parseEvent(block: string): ServerEvent | undefined {
  const lines = block.split('\n');
  const valuesOf = (field: string): string[] =>
    lines.filter((line) => line.startsWith(`${field}: `)).map((line) => line.slice(field.length + 2));
  const data = valuesOf('data');
  return data.length === 0 ? undefined : { event: valuesOf('event')[0] ?? 'message', data: data.join('\n') };
}
