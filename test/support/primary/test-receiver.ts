import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  decodeListPage,
  decodeManifest,
  inspectSegment,
  MemoryReplicaCatalogue,
  ObjectNames,
  type CommittedPoint,
  type CycleState,
  type ListEntry,
  type ManifestRef,
} from '#libs/chain';
import type { Command, CommandResult } from '#libs/contracts/commands';
import { openCycleRequest, replicationPolicy, type InventoryReport, type WireRelationship } from '#libs/contracts/wire';
import { asId, CodedError, newId, PlatformError, type BranchId, type ChainId, type Clock, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, putBytes } from '#libs/object-store';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
}

/** `cut`: the connection is lost before anything is done; `cut-after`: it is done, and the answer is lost. */
export type RequestFate = 'serve' | 'cut' | 'cut-after';

const TAG = 'test';
const WRITER = { id: 'agent', tag: TAG };

/**
 * A receiver in one process, over plain HTTP: contracts/wire in front of the catalogue in memory and a store in memory. It outlives its own restarts, as the
 * provider's database does. For tests of the agent's engine alone.
 */
export class TestReceiver {
  readonly store = new MemoryObjectStore();
  readonly catalogue: MemoryReplicaCatalogue;
  readonly tenantId = newId<TenantId>();
  readonly relationships = new Map<string, WireRelationship>();
  readonly seen: SeenRequest[] = [];
  readonly failures: { cycleId: string; code: string }[] = [];
  readonly measures = new Map<string, Record<string, number>>();
  readonly commandResults = new Map<string, CommandResult>();
  readonly commands: Command[] = [];
  inventory: InventoryReport = { vms: [] };
  fate: (request: SeenRequest) => RequestFate = () => 'serve';
  readonly #cycles = new Map<string, { relationshipId: string; cycle: bigint; kind: string }>();
  readonly #segments = new Map<string, ListEntry>();
  readonly #keys = new Map<string, string>();
  #server: Server | null = null;
  #port = 0;

  constructor(clock: Clock, options: { readonly leaseTtlMs?: number } = {}) {
    this.catalogue = new MemoryReplicaCatalogue(clock, options);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens, after a {@link stop} on the same port again. */
  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => request.destroy());
    });
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** As a kill does: every connection is cut. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server === null ? resolve() : server.close(() => resolve())));
  }

  async protect(sourceId: string, policy: Partial<WireRelationship['policy']> = {}): Promise<WireRelationship> {
    const chainId = newId<ChainId>();
    const branchId = newId<BranchId>();
    const { epoch } = await this.catalogue.createChain({ tenantId: this.tenantId, chainId, branchId, tag: TAG });
    const relationship: WireRelationship = {
      id: newId(),
      tenantId: this.tenantId,
      chainId,
      sourceId,
      vmName: 'vm',
      tag: TAG,
      epoch,
      mode: 'Primary',
      state: 'ReadyForInitialReplication',
      policy: replicationPolicy.parse({ frequencySeconds: 30, ...policy }),
      revision: 1,
      branchId,
      head: null,
      hasPoint: false,
      keyGeneration: 0,
      keyGenerationMin: 0,
    };
    this.relationships.set(relationship.id, relationship);
    return relationship;
  }

  change(id: string, change: Partial<WireRelationship>): void {
    const relationship = this.relationships.get(id)!;
    this.relationships.set(id, { ...relationship, ...change, revision: relationship.revision + 1 });
  }

  command(kind: Command['kind'], payload: Record<string, unknown>): Command {
    const command: Command = {
      id: newId(),
      seq: this.commands.length + 1,
      kind,
      subject: null,
      epoch: null,
      payload,
      createdAt: new Date().toISOString(),
    };
    this.commands.push(command);
    return command;
  }

  points(id: string): Promise<CommittedPoint[]> {
    return this.catalogue.listPoints(this.#address(id));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = { method: request.method!, path: request.url! };
    this.seen.push(seen);
    const fate = this.fate(seen);
    if (fate === 'cut') {
      request.socket.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    try {
      const answer = await this.#route(seen, Buffer.concat(chunks));
      if (fate === 'cut-after') request.socket.destroy();
      else response.writeHead(200, { 'content-type': 'application/json' }).end(answer === undefined ? '' : JSON.stringify(answer));
    } catch (error) {
      const fault = error instanceof PlatformError ? error : new CodedError('receiver.failed', 'unavailable', String(error));
      const status = STATUS[fault.kind] ?? 503;
      const details = JSON.parse(
        JSON.stringify(fault.details, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
      );
      const problem = { type: 'about:blank', title: fault.code, status, code: fault.code, detail: fault.message, details };
      response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
    }
  }

  async #route({ method, path }: SeenRequest, body: Buffer): Promise<unknown> {
    const { pathname, searchParams } = new URL(path, this.url);
    const parts = pathname.split('/').slice(1);
    const json = (): Record<string, unknown> => JSON.parse(body.toString('utf8')) as Record<string, unknown>;
    const [area, , collection, id = '', action, name = '', last] = parts;
    if (area === 'commands') return method === 'GET' ? this.#poll(Number(searchParams.get('after'))) : this.#result(parts[2]!, json());
    if (area === 'reports') return { serverTime: new Date().toISOString() };
    if (area === 'identity') return {};
    if (collection === 'inventory') return void (this.inventory = json() as unknown as InventoryReport);
    if (collection === 'relationships' && id === '')
      return { relationships: await Promise.all([...this.relationships.keys()].map((one) => this.#word(one))), tenantKeys: [] };
    if (collection === 'relationships' && action === undefined) return this.#word(id);
    if (collection === 'relationships' && action === 'cycles') return this.#openCycle(id, openCycleRequest.parse(json()));
    if (collection === 'relationships' && action === 'keys') return this.#putKey(id, name, Number(last), body);
    if (action === undefined) return method === 'GET' ? this.#status(id) : this.#renew(id);
    if (action === 'segments') return this.#putSegment(id, name, body);
    if (action === 'lists') return this.#putList(id, name, body);
    if (action === 'commit') return this.#commit(id, body);
    if (action === 'failure') return void this.failures.push({ cycleId: id, code: String(json()['code']) });
    if (action === 'measures') return void this.measures.set(id, json() as Record<string, number>);
    throw new CodedError('route.not-found', 'not-found', path);
  }

  async #word(id: string): Promise<WireRelationship> {
    const relationship = this.relationships.get(id);
    if (relationship === undefined) throw new CodedError('relationship.not-found', 'not-found', 'no such relationship');
    const { epoch, head, branchId } = await this.catalogue.chain(this.#address(id));
    const points = await this.catalogue.listPoints(this.#address(id), { kind: 'point' });
    return { ...relationship, epoch, branchId, head: head === null ? null : wireRef(head), hasPoint: points.length > 0 };
  }

  async #openCycle(id: string, request: ReturnType<typeof openCycleRequest.parse>): Promise<unknown> {
    const { epoch, manifestKind, parent } = request;
    const opened = await this.catalogue.openCycle({
      ...this.#address(id),
      writer: WRITER,
      epoch,
      kind: manifestKind,
      parent: parent?.sha256 ?? null,
    });
    const cycleId = randomUUID();
    this.#cycles.set(cycleId, { relationshipId: id, cycle: opened.cycle, kind: request.kind });
    return this.#answer(cycleId, opened);
  }

  async #status(cycleId: string): Promise<unknown> {
    const state = await this.catalogue.cycle(this.#request(cycleId));
    const segments = state.segments.map(({ sha256 }) => intervalOf(this.#segments.get(sha256)!));
    return { ...this.#answer(cycleId, state), segments, manifestSha256: state.manifestSha256 };
  }

  async #renew(cycleId: string): Promise<unknown> {
    await this.catalogue.renewLease(this.#request(cycleId));
    return {};
  }

  async #putSegment(cycleId: string, sha256: string, body: Buffer): Promise<unknown> {
    const request = this.#request(cycleId);
    const { chainId } = await this.catalogue.cycle(request);
    const summary = inspectSegment(body, { chainId, sha256, cycle: request.cycle });
    const { created } = await putBytes(this.store, new ObjectNames(this.tenantId, chainId).segment(sha256), body);
    this.#segments.set(sha256, summary);
    await this.catalogue.recordSegment(request, summary);
    return { ...intervalOf(summary), created };
  }

  async #putList(cycleId: string, sha256: string, body: Buffer): Promise<unknown> {
    const request = this.#request(cycleId);
    const { chainId } = await this.catalogue.cycle(request);
    const page = decodeListPage(body, { chainId });
    await putBytes(this.store, new ObjectNames(this.tenantId, chainId).list(sha256), body);
    await this.catalogue.recordList(request, { sha256, entryCount: page.entries.length });
    return {};
  }

  async #commit(cycleId: string, body: Buffer): Promise<unknown> {
    const request = this.#request(cycleId);
    const { chainId } = await this.catalogue.cycle(request);
    const manifest = decodeManifest(body, { chainId });
    const manifestSha256 = createHash('sha256').update(body).digest('hex');
    const names = new ObjectNames(this.tenantId, chainId);
    const repeated = await this.catalogue.bindManifest(request, manifestSha256);
    if (repeated === null) await putBytes(this.store, names.manifest(manifest), body);
    const segments: string[] = [];
    for (const { sha256 } of manifest.lists) {
      segments.push(...decodeListPage(await this.store.get(names.list(sha256)), { chainId }).entries.map((entry) => entry.sha256));
    }
    const point = repeated ?? (await this.catalogue.commit({ ...request, manifest, manifestSha256, segments }));
    return {
      head: wireRef(point.ref),
      recoveryPointId: point.kind === 'point' ? point.id : null,
      committedAt: point.committedAt.toISOString(),
    };
  }

  async #putKey(id: string, kind: string, generation: number, body: Buffer): Promise<unknown> {
    const sha256 = createHash('sha256').update(body).digest('hex');
    const known = this.#keys.get(`${id} ${kind} ${generation}`);
    if (known !== undefined && known !== sha256) throw new CodedError('keys.exists', 'conflict', 'another key has this generation');
    this.#keys.set(`${id} ${kind} ${generation}`, sha256);
    await this.catalogue.recordKey({ ...this.#address(id), writer: WRITER, generation, kind: kind as 'data', recipient: 'a'.repeat(64) });
    if (kind === 'data') this.change(id, { keyGeneration: Math.max(generation, this.relationships.get(id)!.keyGeneration) });
    return { kind, generation, sha256, created: known === undefined };
  }

  #poll(after: number): { commands: Command[] } | Promise<{ commands: Command[] }> {
    const commands = this.commands.filter(({ seq, id }) => seq > after && !this.commandResults.has(id));
    if (commands.length > 0) return { commands };
    return new Promise((resolve) => setTimeout(() => resolve({ commands: [] }), 20));
  }

  #result(id: string, result: Record<string, unknown>): unknown {
    this.commandResults.set(id, result as CommandResult);
    return {};
  }

  #answer(cycleId: string, state: CycleState): Record<string, unknown> {
    const { relationshipId, kind } = this.#cycles.get(cycleId)!;
    return {
      id: cycleId,
      relationshipId,
      cycle: state.cycle.toString(),
      branchId: state.branchId,
      sequence: state.sequence,
      parent: state.parent === null ? null : wireRef(state.parent),
      state: state.status,
      kind,
      manifestKind: state.kind,
      leaseExpiresAt: state.leaseExpiresAt.toISOString(),
      leaseMs: 60_000,
    };
  }

  #request(cycleId: string): { tenantId: TenantId; cycle: bigint; writer: typeof WRITER } {
    const known = this.#cycles.get(cycleId);
    if (known === undefined) throw new CodedError('cycle.not-found', 'not-found', 'there is no such cycle');
    return { tenantId: this.tenantId, cycle: known.cycle, writer: WRITER };
  }

  #address(id: string): { tenantId: TenantId; chainId: ChainId } {
    return { tenantId: this.tenantId, chainId: asId<ChainId>(this.relationships.get(id)!.chainId) };
  }
}

const STATUS: Readonly<Record<string, number>> = {
  invalid: 400,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  gone: 410,
  unavailable: 503,
  corrupt: 400,
};

function wireRef(ref: ManifestRef): { branchId: string; sequence: number; cycle: string; sha256: string; path: string } {
  return { ...ref, cycle: ref.cycle.toString() };
}

function intervalOf({ sha256, sizeBytes, recordCount, first, last }: ListEntry): Record<string, unknown> {
  return {
    sha256,
    sizeBytes,
    recordCount,
    firstDisk: first.disk,
    firstBlock: first.block,
    lastDisk: last.disk,
    lastBlock: last.block,
  };
}
