/**
 * A replica node as a process of its own whose receiver is the test: commands come and reports go over the process channel.
 * Started from the compiled files by the integration tests, which kill it.
 */
import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rsaUnwrapper } from '#libs/chain';
import type { Command, CommandResult, PointMap, Report } from '#libs/contracts/commands';
import type { ReplacementsAnswer } from '#libs/contracts/wire';
import { CodedError, JsonLinesLogger, SECOND_MS, SystemClock } from '#libs/kernel';
import { type ByteRange, openObjectStore, WrappedObjectStore } from '#libs/object-store';
import { HostDirectory } from '#libs/peer';
import { bootProbeSettings, ReceiverApi, ReplicaNode } from '#libs/replica-node';

export type ToNode = { readonly command: Command } | { readonly stop: 'keep' | 'stop-replicas' };
export type FromNode =
  | { readonly ready: true }
  | { readonly result: CommandResult; readonly commandId: string }
  | { readonly report: Report }
  | { readonly screenshot: string; readonly failoverId: string };

class ChannelReceiver extends ReceiverApi {
  readonly #waiting: Command[] = [];
  #arrived = new AbortController();

  constructor() {
    super();
    process.on('message', (message: ToNode) => {
      if (!('command' in message)) return;
      this.#waiting.push(message.command);
      this.#arrived.abort();
    });
  }

  async commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]> {
    const fresh = (): Command[] => this.#waiting.filter(({ seq }) => seq > after);
    if (fresh().length === 0) {
      this.#arrived = new AbortController();
      await new SystemClock().sleep(waitMs, AbortSignal.any([signal, this.#arrived.signal])).catch(() => {});
    }
    signal.throwIfAborted();
    return fresh();
  }

  async result(commandId: string, result: CommandResult): Promise<void> {
    tell({ commandId, result });
  }

  async report(report: Report): Promise<void> {
    tell({ report });
  }

  /** Its points lie in a store that nothing is collected from, and have no indexes. */
  async reading(): Promise<PointMap> {
    return { indexes: [], layers: [], replacements: [] };
  }

  async replacements(): Promise<ReplacementsAnswer> {
    return { replacements: [], more: null };
  }

  async putScreenshot(failoverId: string, png: Uint8Array): Promise<void> {
    tell({ failoverId, screenshot: Buffer.from(png).toString('base64') });
  }
}

/** Away while its directory is: what it keeps open for a moment would be read all the same, and a small guest needs no more. */
class DirectoryThatMayBeAway extends WrappedObjectStore {
  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    if (!existsSync(fileURLToPath(storeUrl))) throw new CodedError('object.store-unavailable', 'unavailable', 'the directory is away');
    return this.inner.get(key, range, signal);
  }
}

function tell(message: FromNode): void {
  process.send?.(message);
}

const [dataDir, storeUrl, readerKeyPem] = process.argv.slice(2) as [string, string, string];
const node = await ReplicaNode.start({
  directory: await HostDirectory.open(dataDir),
  store: new DirectoryThatMayBeAway(await openObjectStore(storeUrl)),
  receiver: new ChannelReceiver(),
  unwrap: rsaUnwrapper(createPrivateKey(readerKeyPem)),
  clock: new SystemClock(),
  logger: new JsonLinesLogger({}, (line) => process.stderr.write(line)),
  version: '0.0.0-test',
  accelerator: 'tcg',
  bootProbe: bootProbeSettings(/GUEST-UP/),
  heartbeatMs: SECOND_MS,
});
process.on('message', (message: ToNode) => {
  if ('stop' in message) void node.stop(message.stop).then(() => process.exit(0));
});
process.on('disconnect', () => void node.stop('stop-replicas').then(() => process.exit(0)));
tell({ ready: true });
