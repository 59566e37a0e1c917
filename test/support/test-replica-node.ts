import { createPrivateKey } from 'node:crypto';
import { type ChainView, rsaUnwrapper } from '#libs/chain';
import type { ReplacementsAnswer } from '#libs/contracts/wire';
import type {
  Command,
  CommandKind,
  CommandPayload,
  CommandResult,
  PointMap,
  PointSource,
  Report,
  ReplicaReport,
} from '#libs/contracts/commands';
import { asId, CodedError, type ReplicaNodeId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { openPoint, type ReadingServices } from '#libs/replica-node';
import { eventually } from './eventually.js';
import { expectOk } from './protected-vm.js';
import { type Answer, identityKeys, type TestPeer, type TestSite } from './receiver.js';

/** The smallest PNG there is. */
export const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

const SUCCEEDED: CommandResult = { outcome: 'succeeded', code: null, message: null, data: {} };

/** A replica node as a receiver sees it: its commands, reports and keys are real, its VMs are words. */
export class TestReplicaNode {
  private after = 0;
  private readonly waiting: Command[] = [];
  private running: string[] = [];

  private constructor(
    readonly peer: TestPeer,
    readonly fqdn: string,
  ) {}

  static async enrol(site: TestSite, fqdn: string): Promise<TestReplicaNode> {
    return new TestReplicaNode(await site.enrolReplicaNode(fqdn), fqdn);
  }

  get id(): ReplicaNodeId {
    return asId<ReplicaNodeId>(this.peer.id);
  }

  /** A heartbeat with room for many VMs, and news. */
  async report(...replicas: Partial<ReplicaReport>[]): Promise<void> {
    const capacity = { cpus: 8, memoryMiB: 65_536, memoryFreeMiB: 65_536, accelerator: 'tcg', replicas: this.running } as const;
    const news = replicas.map((replica) => ({ at: new Date().toISOString(), ...replica }));
    await expectOk(this.peer.post('/reports/v1', { version: '0.1.0', capacity, replicas: news as Report['replicas'] }));
  }

  /** Waits for a command of a kind about a subject; others are kept for later. */
  async command<K extends CommandKind>(kind: K, subject: string): Promise<Command & { readonly payload: CommandPayload<K> }> {
    return eventually(
      `the command ${kind}`,
      async () => {
        const index = this.waiting.findIndex((command) => command.kind === kind && command.subject === subject);
        if (index >= 0) return this.waiting.splice(index, 1)[0] as Command & { payload: CommandPayload<K> };
        const { body } = await expectOk(this.peer.get(`/commands/v1?after=${this.after}&waitMs=1000`));
        for (const command of (body as { commands: Command[] }).commands) {
          this.waiting.push(command);
          this.after = command.seq;
        }
        return undefined;
      },
      20_000,
    );
  }

  /** Whether a command of a kind about a subject has come. Looks once. */
  async has(kind: CommandKind, subject: string): Promise<boolean> {
    const { body } = await expectOk(this.peer.get(`/commands/v1?after=0&waitMs=0`));
    return (body as { commands: Command[] }).commands.some((command) => command.kind === kind && command.subject === subject);
  }

  answer(command: Pick<Command, 'id'>, result: Partial<CommandResult> = {}): Promise<Answer> {
    return expectOk(this.peer.post(`/commands/v1/${command.id}/result`, { ...SUCCEEDED, ...result }));
  }

  /** Takes the command to start and reports the VM up, as a node does whose guest boots. */
  async bringUp(
    failoverId: string,
    found: Partial<ReplicaReport> = {},
  ): Promise<Command & { readonly payload: CommandPayload<'replica.start'> }> {
    const command = await this.command('replica.start', failoverId);
    this.running.push(failoverId);
    await this.report({ failoverId, phase: 'opening' });
    await this.report({ failoverId, phase: 'booting' });
    await this.answer(command);
    await this.report({ failoverId, phase: 'up', bootMs: 1234.5, proof: 'console-pattern', console: 'tick 1', ...found });
    return command;
  }

  /** Takes the command to stop and does it. */
  async takeDown(failoverId: string): Promise<void> {
    const command = await this.command('replica.stop', failoverId);
    this.running = this.running.filter((id) => id !== failoverId);
    await this.report({ failoverId, phase: 'stopped' });
    await this.answer(command);
  }

  putScreenshot(failoverId: string, png: Buffer = PNG): Promise<Answer> {
    return this.peer.send('PUT', `/reports/v1/failovers/${failoverId}/screenshot`, png, { 'content-type': 'image/png' });
  }

  /** What a node that reads asks its receiver. */
  get readings(): ReadingServices['receiver'] {
    const ask = async (path: string, body: object): Promise<unknown> => {
      const answer = await this.peer.post(`/replication/v1/readings/${path}`, body);
      if (answer.status >= 300)
        throw new CodedError(
          answer.code ?? 'receiver.refused',
          answer.status === 404 ? 'not-found' : 'invalid',
          JSON.stringify(answer.body),
        );
      return answer.body;
    };
    return {
      reading: async ({ tenantId, id }) => ((await ask(id, { tenantId })) as { map: PointMap }).map,
      replacements: async ({ tenantId, id }, request) => (await ask(`${id}/replacements`, { tenantId, ...request })) as ReplacementsAnswer,
    };
  }

  /** Opens a point with what the command granted to this node and nothing else. */
  async open(source: PointSource, store: ObjectStore): Promise<ChainView> {
    const { unwrapping } = await identityKeys();
    return openPoint({ source, store, unwrap: rsaUnwrapper(createPrivateKey(unwrapping.privateKeyPem.reveal())) });
  }
}
