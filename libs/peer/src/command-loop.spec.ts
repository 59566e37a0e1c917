import { describe, expect, it } from 'vitest';
import type { Command, CommandResult } from '#libs/contracts/commands';
import { CodedError, newId, SilentLogger, SystemClock } from '#libs/kernel';
import { runCommandLoop, type CommandSource } from './command-loop.js';

/** Hands out what it was given, once; keeps the results; can refuse to answer. */
class Source implements CommandSource {
  readonly results: { id: string; result: CommandResult }[] = [];
  refusals = 0;
  #told: () => void = () => {};

  constructor(private readonly queue: Command[]) {}

  async commands(after: number, _waitMs: number, signal: AbortSignal): Promise<readonly Command[]> {
    const waiting = this.queue.filter(({ seq }) => seq > after);
    if (waiting.length === 0) await new SystemClock().sleep(60_000, signal);
    return waiting;
  }

  async result(id: string, result: CommandResult): Promise<void> {
    if (this.refusals > 0) {
      this.refusals -= 1;
      throw new CodedError('receiver.unreachable', 'unavailable', 'no receiver');
    }
    this.results.push({ id, result });
    this.#told();
  }

  async until(count: number): Promise<void> {
    while (this.results.length < count) await new Promise<void>((resolve) => (this.#told = resolve));
  }
}

const aCommand = (seq: number, subject: string | null): Command => ({
  id: newId(),
  seq,
  kind: 'inventory.refresh',
  subject,
  epoch: null,
  payload: {},
  createdAt: '2026-03-01T12:00:00.000Z',
});

async function during(
  source: Source,
  execute: (command: Command) => Promise<Readonly<Record<string, unknown>>>,
  work: () => Promise<void>,
): Promise<void> {
  const end = new AbortController();
  const shared = { fallbackCode: 'host.failed', clock: new SystemClock(), logger: new SilentLogger(), signal: end.signal };
  const loop = runCommandLoop({ source, execute, ...shared });
  await work();
  end.abort();
  await loop;
}

describe('the command loop', () => {
  it('keeps the order within a subject, and lets no subject wait for another', async () => {
    const [slow, quick] = [newId(), newId()];
    const source = new Source([aCommand(1, slow), aCommand(2, slow), aCommand(3, quick), aCommand(4, null)]);
    const began: number[] = [];
    let release = (): void => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    const execute = async ({ seq }: Command) => {
      began.push(seq);
      if (seq === 1) await released;
      return { seq };
    };
    await during(source, execute, async () => {
      await source.until(2);
      expect(began).toEqual([1, 3, 4]);
      release();
      await source.until(4);
      expect(source.results.map(({ result }) => result.data['seq'])).toEqual([3, 4, 1, 2]);
    });
  });

  it('goes on after a failure, and tells it by its code', async () => {
    const subject = newId();
    const source = new Source([aCommand(1, subject), aCommand(2, subject), aCommand(3, subject)]);
    const execute = async ({ seq }: Command) => {
      if (seq === 1) throw new CodedError('vm.not-here', 'not-found', 'no such VM');
      if (seq === 2) throw new Error('x'.repeat(5000));
      return {};
    };
    await during(source, execute, () => source.until(3));
    expect(source.results.map(({ result }) => [result.outcome, result.code])).toEqual([
      ['failed', 'vm.not-here'],
      ['failed', 'host.failed'],
      ['succeeded', null],
    ]);
    expect(source.results[1]!.result.message).toHaveLength(1000);
  });

  it('tells a result until a receiver takes it, and executes the command once', async () => {
    const source = new Source([aCommand(1, newId())]);
    source.refusals = 1;
    let executions = 0;
    const execute = async () => {
      executions += 1;
      return {};
    };
    await during(source, execute, () => source.until(1));
    expect(executions).toBe(1);
    expect(source.results).toHaveLength(1);
  });

  it('tells nothing of what its end interrupted', async () => {
    const source = new Source([aCommand(1, newId())]);
    let interrupt = (): void => {};
    const interrupted = new Promise<void>((resolve) => (interrupt = resolve));
    let began = (): void => {};
    const hasBegun = new Promise<void>((resolve) => (began = resolve));
    const execute = async () => {
      began();
      await interrupted;
      throw new Error('interrupted');
    };
    await during(source, execute, () => hasBegun);
    interrupt();
    await new Promise((resolve) => setImmediate(resolve));
    expect(source.results).toEqual([]);
  });
});
