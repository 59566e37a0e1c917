import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { ChainKeys, openView, type CommittedPoint, type ManifestRef, type OpenViewOptions } from '#libs/chain';
import type { WireRelationship } from '#libs/contracts/wire';
import { asId, KIB, MIB, SilentLogger, SystemClock, type ChainId, type TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { PrimaryAgent, StateDirectory, type PrimaryAgentOptions } from '#libs/primary';
import { eventually } from '../eventually.js';
import { enrolTestAgent, type TestProvider } from './enrolled-agent.js';
import { FileVm, FileVmHost } from './file-vm-host.js';
import { TestReceiver } from './test-receiver.js';

const clock = new SystemClock();

/** One cycle after the other while there is something to copy or to retry; then only when asked. */
export const onDemand: PrimaryAgentOptions['schedule'] = ({ lastStartedMs, failures, isCopying }) =>
  lastStartedMs === null || failures > 0 || isCopying ? 0 : lastStartedMs + 3_600_000;

export function startTestAgent(state: StateDirectory, vms: FileVm[], options: Partial<PrimaryAgentOptions> = {}): Promise<PrimaryAgent> {
  return PrimaryAgent.start({
    state,
    clock,
    logger: new SilentLogger(),
    version: 'test',
    environment: {},
    host: new FileVmHost(vms),
    reconcileEveryMs: 50,
    retries: { attemptsMax: 5, firstDelayMs: 10, delayMaxMs: 50 },
    schedule: onDemand!,
    ...options,
  });
}

/** Where things are, after upkeep. */
export type ReadingHelp = Pick<OpenViewOptions, 'indexes' | 'replacements'>;

/** What a test asks whether a point of a chain is right; the keys are those that the agent holds. */
export async function expectPointEquals(
  store: ObjectStore,
  relationship: { readonly id: string; readonly tenantId: string; readonly chainId: string },
  head: ManifestRef,
  state: StateDirectory,
  contents: readonly Buffer[],
  help: ReadingHelp = {},
): Promise<void> {
  const chainId = asId<ChainId>(relationship.chainId);
  const dataKeys = new Map<number, Buffer>();
  for (let generation = 1; generation <= 4; generation += 1) {
    const key = await state.readKey(relationship.id, 'data', generation);
    if (key !== null) dataKeys.set(generation, Buffer.from(key.key, 'base64'));
  }
  const fingerprint = await state.readKey(relationship.id, 'fingerprint', 0);
  const keys = new ChainKeys({ chainId, fingerprintKey: Buffer.from(fingerprint!.key, 'base64'), dataKeys });
  const view = await openView({ store, tenantId: asId<TenantId>(relationship.tenantId), chainId, head, keys, ...help });
  for (const [ordinal, content] of contents.entries()) {
    const read = await view.read(ordinal, 0, content.length);
    expect(read.equals(content), `disk ${ordinal} of point ${head.sequence}`).toBe(true);
  }
  view.close();
}

/** An agent with a VM of two disks before a receiver in memory. */
export class AgentBench {
  agent: PrimaryAgent | null = null;

  private constructor(
    readonly directory: string,
    readonly receiver: TestReceiver,
    readonly vm: FileVm,
    readonly relationship: WireRelationship,
    public state: StateDirectory,
  ) {}

  static async create(provider: TestProvider): Promise<AgentBench> {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-primary-'));
    const receiver = new TestReceiver(clock);
    await receiver.start();
    const vm = await createTestVm(directory);
    const relationship = await receiver.protect(vm.sourceId);
    const state = await enrolTestAgent(provider, {
      dataDir: join(directory, 'agent'),
      tenantId: receiver.tenantId,
      receiverUrl: receiver.url,
    });
    return new AgentBench(directory, receiver, vm, relationship, state);
  }

  async start(options: Partial<PrimaryAgentOptions> = {}): Promise<PrimaryAgent> {
    this.agent = await startTestAgent(this.state, [this.vm], options);
    return this.agent;
  }

  /** Starts, and waits for the first point. */
  async protect(options: Partial<PrimaryAgentOptions> = {}): Promise<CommittedPoint> {
    await this.start(options);
    return (await this.points(1))[0]!;
  }

  async stop(): Promise<void> {
    await this.agent?.stop();
    this.agent = null;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.receiver.stop();
    await this.vm.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  runCycle(): void {
    this.receiver.command('replication.run-cycle', { relationshipId: this.relationship.id });
  }

  committed(): Promise<CommittedPoint[]> {
    return this.receiver.points(this.relationship.id);
  }

  async stagingCount(): Promise<number> {
    return (await this.committed()).filter(({ kind }) => kind === 'staging').length;
  }

  /** Waits for so many recovery points. */
  points(count: number): Promise<CommittedPoint[]> {
    return eventually(`${count} points`, async () => {
      const points = (await this.committed()).filter(({ kind }) => kind === 'point');
      return points.length >= count && points;
    });
  }

  contents(): Promise<Buffer[]> {
    return contentsOf(this.vm);
  }

  expectPoint(point: CommittedPoint, contents: readonly Buffer[]): Promise<void> {
    return expectPointEquals(this.receiver.store, this.relationship, point.ref, this.state, contents);
  }
}

/** Two disks, the first of no round size, with some data and much emptiness. */
export async function createTestVm(directory: string): Promise<FileVm> {
  const vm = await FileVm.create('web', directory, [6 * MIB + 512, 2 * MIB]);
  vm.write(0, 100 * KIB, randomBytes(3 * MIB));
  vm.write(1, 0, Buffer.from('the second disk'));
  return vm;
}

export function contentsOf(vm: FileVm): Promise<Buffer[]> {
  return Promise.all(vm.disks.map(({ ordinal }) => vm.content(ordinal)));
}
