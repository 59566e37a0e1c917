import type { BeforeApplicationShutdown, OnApplicationBootstrap, OnModuleInit } from '@nestjs/common';
import { newId, type Clock, type Logger, type Redacted } from '#libs/kernel';
import type { PeerRegistry } from '#libs/pki';
import { Loop, PgListener, type PlatformUnitOfWork, type Stopping } from '#libs/platform';
import type { PeerDirectory } from '../http/peer-directory.js';
import type { UploadGate } from '../http/upload-gate.js';
import { COMMAND_CHANNEL } from '../tables/commands.js';
import { forgetReceiver, IDENTITY_CHANNEL, saveReceiver } from '../tables/receivers.js';
import type { WakeUps } from '../use-cases/wake-ups.js';

/** How a receiver is known to agents and to the dashboard. */
export abstract class ReceiverSelf {
  /** One among the provider's receivers. */
  abstract readonly name: string;
  /** `https:`; what agents and replica nodes are told to call. */
  abstract readonly url: string;
  abstract readonly version: string;
}

export interface ReceiverUpkeepParts {
  readonly self: ReceiverSelf;
  readonly databaseUrl: Redacted;
  readonly platform: PlatformUnitOfWork;
  readonly directory: PeerDirectory;
  readonly registry: PeerRegistry;
  readonly gate: UploadGate;
  readonly wakeUps: WakeUps;
  readonly stopping: Stopping;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Notifications come at once; the poll is for those that were lost. Revocation must be known within ten seconds. */
const REFRESH_MS = 3_000;
const PRESENCE_MS = 10_000;

/** What a receiver does beside answering: learns of changed identities and of commands, and says that it is there. */
export class ReceiverUpkeep implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly refreshing: Loop;
  private readonly presence: Loop;
  private readonly listener: PgListener;
  private readonly startedAt: Date;

  constructor(private readonly parts: ReceiverUpkeepParts) {
    const { clock, logger, directory, gate, stopping, wakeUps } = parts;
    this.startedAt = clock.now();
    this.refreshing = new Loop({ name: 'identity-refresh', intervalMs: REFRESH_MS, clock, logger, work: () => directory.refresh() });
    this.presence = new Loop({ name: 'receiver-presence', intervalMs: PRESENCE_MS, clock, logger, work: () => this.sayPresent() });
    this.listener = new PgListener({
      url: parts.databaseUrl,
      channels: [IDENTITY_CHANNEL, COMMAND_CHANNEL],
      clock,
      logger,
      onNotify: (channel, payload) => {
        if (channel === IDENTITY_CHANNEL) this.refreshing.poke();
        else if (payload === undefined) wakeUps.wakeAll();
        else wakeUps.wake(payload);
      },
    });
    stopping.signal.addEventListener('abort', () => gate.close(), { once: true });
  }

  /** Before the first peer can come: its standing is watched from then on. */
  async onModuleInit(): Promise<void> {
    await this.parts.directory.refresh();
  }

  onApplicationBootstrap(): void {
    this.listener.start();
    this.refreshing.start();
    this.presence.start();
  }

  /** Before the last requests are waited for: agents that ask from now on are sent to another receiver. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([this.listener.stop(), this.refreshing.stop(), this.presence.stop()]);
    await this.parts.platform.run((tx) => forgetReceiver(tx, this.parts.self.name)).catch(() => undefined);
  }

  private async sayPresent(): Promise<void> {
    const { self, registry, gate, platform } = this.parts;
    await platform.run((tx) =>
      saveReceiver(tx, {
        id: newId(),
        name: self.name,
        url: self.url,
        version: self.version,
        started_at: this.startedAt,
        connections: registry.size,
        uploads: gate.uploadCount,
        received_bytes: gate.receivedBytes,
      }),
    );
  }
}
