import { fork, type ChildProcess } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command, CommandKind, CommandResult, ReplicaReport, Report } from '#libs/contracts/commands';
import { newId } from '#libs/kernel';
import type { FromNode, ToNode } from './replica-node-process.js';

const NODE_PROCESS = join(process.cwd(), 'dist/test/support/replica-node-process.js');

/** A replica node in a process of its own, and all that it told. Its receiver is the test. */
export class ReplicaNodeUnderTest {
  readonly results = new Map<string, CommandResult>();
  readonly reports: Report[] = [];
  readonly screenshots = new Map<string, Buffer>();
  #seq = 0;

  private constructor(readonly child: ChildProcess) {
    child.on('message', (message: FromNode) => {
      if ('report' in message) this.reports.push(message.report);
      if ('result' in message) this.results.set(message.commandId, message.result);
      if ('screenshot' in message) this.screenshots.set(message.failoverId, Buffer.from(message.screenshot, 'base64'));
    });
  }

  /** Below `directory`: its own `node`, and the `store` that it reads with that key. */
  static async start(directory: string, key: KeyObject): Promise<ReplicaNodeUnderTest> {
    const readerKey = key.export({ type: 'pkcs8', format: 'pem' }) as string;
    const log = join(directory, 'node.log');
    const child = fork(NODE_PROCESS, [join(directory, 'node'), pathToFileURL(join(directory, 'store')).href, readerKey], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Vitest's own would lead the child to the sources.
      execArgv: [],
    });
    child.stderr!.on('data', (text: Buffer) => void writeFile(log, text, { flag: 'a' }));
    const node = new ReplicaNodeUnderTest(child);
    const exited = once(child, 'exit').then(async () => {
      throw new Error(`the replica node ended: ${await readFile(log, 'utf8').catch(() => '')}`);
    });
    await Promise.race([once(child, 'message'), exited]);
    exited.catch(() => {});
    return node;
  }

  send(kind: CommandKind, payload: unknown, fields: Partial<Command> = {}): string {
    const id = newId();
    this.#seq += 1;
    const command = { id, seq: this.#seq, kind, subject: null, epoch: null, payload, createdAt: new Date().toISOString(), ...fields };
    this.child.send({ command } satisfies ToNode);
    return command.id;
  }

  async resultOf(commandId: string): Promise<CommandResult> {
    return until(`a result of ${commandId}`, () => this.results.get(commandId));
  }

  phases(failoverId: string): ReplicaReport[] {
    return this.reports.flatMap(({ replicas }) => replicas).filter((report) => report.failoverId === failoverId);
  }

  async whenIn(failoverId: string, phase: string): Promise<ReplicaReport> {
    return until(`${failoverId} to be ${phase}`, () => {
      const reports = this.phases(failoverId);
      const failure = reports.find((report) => report.phase === 'failed');
      if (failure !== undefined && phase !== 'failed') throw new Error(`${failure.code}: ${failure.message}`);
      return reports.find((report) => report.phase === phase);
    });
  }

  async end(how: NodeJS.Signals | 'keep' | 'stop-replicas'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    if (how === 'keep' || how === 'stop-replicas') this.child.send({ stop: how } satisfies ToNode);
    else this.child.kill(how);
    await gone;
  }
}

/** Asks again and again, until there is an answer. */
export async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>, timeoutMs = 45_000): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
