import { join } from 'node:path';
import { Client } from 'undici';
import type { EnrolmentAnswer } from '#libs/contracts/wire';
import { Redacted, VERSION } from '#libs/kernel';
import { enrolHost, HostDirectory, type StoredIdentity } from '#libs/peer';
import { clientTlsOptions } from '#libs/pki';
import type { Stage } from './stage.js';
import type { DemoTenant } from './steps/start-platform.js';

export interface Answer {
  readonly status: number;
  /** Of a problem; null for anything else. */
  readonly code: string | null;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface TrespasserOptions {
  readonly tenant: DemoTenant;
  readonly fqdn: string;
  readonly tag: string;
}

/** A host with a valid certificate that speaks to the receiver by hand, over one connection at a time. */
export class Trespasser {
  private openedConnections = 0;
  private refusedAttempts = 0;
  private readonly client: Client;

  private constructor(
    readonly name: string,
    readonly agentId: string,
    identity: StoredIdentity,
  ) {
    const tls = { chainPem: identity.certificateChain, privateKeyPem: new Redacted(identity.signingKey) };
    this.client = new Client(identity.receiverUrls[0]!, {
      connect: clientTlsOptions({ rootsPem: [identity.providerRoots], identity: tls }) as object,
      pipelining: 1,
      keepAliveTimeout: 60_000,
    });
    this.client.on('connect', () => (this.openedConnections += 1));
  }

  /** Enrols as any host of a tenant does, with a one-time token. */
  static async enrol(stage: Stage, { tenant, fqdn, tag }: TrespasserOptions): Promise<Trespasser> {
    const { token } = await tenant.client.agents.createEnrolmentToken({ fqdnPattern: fqdn, tag });
    const directory = await HostDirectory.open(join(stage.dataDir, 'trespassers', fqdn));
    const settle = async ({ identityId }: EnrolmentAnswer): Promise<string> => identityId;
    const agentId = await enrolHost(directory, { token, fqdn, version: VERSION, role: 'agent', settle });
    return Trespasser.as(stage, `${fqdn}, tag ${tag}`, agentId, directory.path);
  }

  /** Speaks as a host that is enrolled already. */
  static async as(stage: Stage, name: string, agentId: string, directory: string): Promise<Trespasser> {
    const identity = await (await HostDirectory.open(directory)).readIdentity();
    if (identity === null) throw new Error(`${name} has no identity`);
    const trespasser = new Trespasser(name, agentId, identity);
    stage.cleanup.defer(() => trespasser.close());
    return trespasser;
  }

  get connections(): number {
    return this.openedConnections;
  }

  /** Attempts that were answered with a refusal. */
  get refusals(): number {
    return this.refusedAttempts;
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path);
  }

  post(path: string, json: unknown): Promise<Answer> {
    return this.send('POST', path, Buffer.from(JSON.stringify(json)), 'application/json');
  }

  upload(method: 'PUT' | 'POST', path: string, bytes: Buffer): Promise<Answer> {
    return this.send(method, path, bytes, 'application/octet-stream');
  }

  async close(): Promise<void> {
    await this.client.destroy();
  }

  private async send(method: 'GET' | 'POST' | 'PUT', path: string, body?: Buffer, type?: string): Promise<Answer> {
    const answer = await this.client.request({
      method,
      path,
      body: body ?? null,
      headers: type === undefined ? {} : { 'content-type': type },
    });
    if (answer.statusCode >= 400) this.refusedAttempts += 1;
    const text = await answer.body.text();
    const json = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
    return { status: answer.statusCode, code: typeof json['code'] === 'string' ? json['code'] : null, body: json };
  }
}
