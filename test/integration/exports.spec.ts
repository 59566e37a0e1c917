import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '#libs/chain';
import type { ExportView } from '#libs/contracts/http';
import { newId, SilentLogger } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { FailLostExports, SweepExports } from '#libs/replication';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { contentOf, type ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Exports from the wish to the file's bytes. The replica node is played; the file that it writes into the store is made up. */

let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;

beforeAll(async () => {
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  vm = await world.protect();
  await vm.cycle(1);
});
afterAll(() => world?.stop());
beforeEach(() => node.report());

/** Oldest first. */
async function points(of: ProtectedVm): Promise<{ id: string; cycle: string }[]> {
  const { body } = await world.get(`/api/v1/relationships/${of.id}/recovery-points`);
  return (body.items as { id: string; cycle: string }[]).toReversed();
}

const wish = (pointId: string, body: object) => world.post(`/api/v1/recovery-points/${pointId}/exports`, body);

async function accepted(pointId: string, body: object): Promise<ExportView> {
  const answer = await wish(pointId, body);
  expect(answer).toMatchObject({ status: 202, body: { state: 'Queued' } });
  return answer.body as ExportView;
}

const ended = (id: string) =>
  eventually('the export ended', async () => {
    const { body } = await world.get(`/api/v1/exports/${id}`);
    return ['Completed', 'Failed'].includes((body as ExportView).state) ? (body as ExportView) : undefined;
  });

/** The node writes a file of these bytes and says so. */
async function finish(id: string, bytes = randomBytes(100), identity: { uniqueId: string; timestampSeconds: number | null } | null = null) {
  const command = await node.command('point.export', id);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await world.store.put(command.payload.objectKey, bytes, { sizeBytes: bytes.length, sha256 });
  const data = { sizeBytes: bytes.length, sha256, ...(identity ?? { uniqueId: null, timestampSeconds: null }) };
  await node.answer(command, { data });
  return { command, view: await ended(id) };
}

/** The node falls silent for an hour. */
async function giveUp(id: string): Promise<void> {
  await world.database.asSuperuser(`update replica_node set reported_at = now() - interval '1 hour'`);
  const lost = new FailLostExports(await world.database.platform(), world.database.unitOfWork);
  await lost.run({ logger: new SilentLogger() });
  await ended(id);
}

async function store(key: string): Promise<void> {
  await putBytes(world.store, key, randomBytes(100));
}

describe('an export', () => {
  it('is made by a node that may open the point, and fetched as it was stored', async () => {
    const [, newest] = await points(vm);
    const { id } = await accepted(newest!.id, { diskOrdinal: 0, format: 'raw' });
    expect(await world.get(`/api/v1/exports/${id}/content`)).toMatchObject({ status: 409, body: { code: 'export.not-ready' } });
    const bytes = randomBytes(3_000_000);
    const { command, view } = await finish(id, bytes);
    expect(command.payload).toMatchObject({
      exportId: id,
      diskOrdinal: 0,
      format: 'raw',
      base: null,
      source: { point: { cycle: newest!.cycle } },
    });
    expect(view).toMatchObject({ state: 'Completed', sizeBytes: bytes.length, fileName: expect.stringMatching(/^hv1.*\.raw$/) });

    const opened = await node.open(command.payload.source, world.store);
    expect(await opened.disk(0).read(BLOCK_BYTES, BLOCK_BYTES)).toEqual(contentOf(newest!.cycle, 1));
    opened.close();

    const fetched = await world.site.api.request().get(`/api/v1/exports/${id}/content`).set(world.admin.headers).buffer(true).expect(200);
    expect(fetched.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': `${bytes.length}`,
      'content-disposition': `attachment; filename="${view.fileName}"`,
      'cache-control': 'private, no-store',
    });
    expect(bytes.equals(fetched.body as Buffer)).toBe(true);
  });

  it('is fetched in parts, from either end, as it was when the fetch began', async () => {
    const [, newest] = await points(vm);
    const { id } = await accepted(newest!.id, { diskOrdinal: 0, format: 'qcow2' });
    const bytes = randomBytes(100_000);
    const { view } = await finish(id, bytes);
    expect(view.fileName).toMatch(/\.qcow2$/);
    const ask = (headers: Record<string, string>, method: 'get' | 'head' = 'get') => {
      const request = world.site.api.request();
      const path = `/api/v1/exports/${id}/content`;
      return (method === 'get' ? request.get(path) : request.head(path)).set({ ...world.admin.headers, ...headers }).buffer(true);
    };
    const { etag } = (await ask({}, 'head')).headers as { etag: string };
    expect(etag).toBe(`"${createHash('sha256').update(bytes).digest('hex')}"`);
    for (const [range, from, until] of [
      ['bytes=0-0', 0, 1],
      ['bytes=5000-69999', 5000, 70_000],
      ['bytes=99990-', 99_990, 100_000],
      ['bytes=90000-999999', 90_000, 100_000],
      ['bytes=-512', 99_488, 100_000],
    ] as const) {
      const part = {
        'content-range': `bytes ${from}-${until - 1}/100000`,
        'content-length': `${until - from}`,
        etag,
        'accept-ranges': 'bytes',
      };
      const answer = await ask({ range, 'if-range': etag });
      expect(answer).toMatchObject({ status: 206, headers: part });
      expect(bytes.subarray(from, until).equals(answer.body as Buffer)).toBe(true);
      expect(await ask({ range }, 'head')).toMatchObject({ status: 206, headers: part });
    }
    for (const headers of [{ range: 'bytes=5-9', 'if-range': '"other"' }, { range: 'bytes=0-1,5-9' }, { range: 'lines=1-2' }]) {
      const answer = await ask(headers);
      expect(answer).toMatchObject({ status: 200, headers: { 'content-length': '100000' } });
      expect(bytes.equals(answer.body as Buffer)).toBe(true);
    }
    expect(await ask({ range: 'bytes=100000-' })).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */100000' } });
    expect(await ask({}, 'head')).toMatchObject({ status: 200, headers: { 'content-length': '100000', 'accept-ranges': 'bytes' } });
  });

  it('that the node cannot make says why', async () => {
    const [point] = await points(vm);
    const { id } = await accepted(point!.id, { diskOrdinal: 0, format: 'vhdx' });
    await node.answer(await node.command('point.export', id), {
      outcome: 'failed',
      code: 'object.store-full',
      message: 'the store is full',
    });
    expect(await ended(id)).toMatchObject({ state: 'Failed', failureCode: 'object.store-full', failureMessage: 'the store is full' });
    expect(await world.get(`/api/v1/exports/${id}/content`)).toMatchObject({ status: 409, body: { code: 'export.not-ready' } });
  });

  it('is not finished by a result that does not say what was written', async () => {
    const [point] = await points(vm);
    const { id } = await accepted(point!.id, { diskOrdinal: 0, format: 'raw' });
    const command = await node.command('point.export', id);
    const result = { outcome: 'succeeded', code: null, message: null, data: { sizeBytes: -1 } };
    expect(await node.peer.post(`/commands/v1/${command.id}/result`, result)).toMatchObject({
      status: 400,
      code: 'export.result-malformed',
    });
    expect((await world.get(`/api/v1/exports/${id}`)).body).toMatchObject({ state: 'InProgress' });
  });

  it('is deleted with its file, unless another stands on it', async () => {
    const [older, newest] = await points(vm);
    const base = await accepted(older!.id, { diskOrdinal: 0, format: 'vhd' });
    const { command } = await finish(base.id, randomBytes(100), { uniqueId: newId(), timestampSeconds: 1 });
    const child = await accepted(newest!.id, { diskOrdinal: 0, format: 'vhd', baseExportId: base.id });
    await finish(child.id, randomBytes(100), { uniqueId: newId(), timestampSeconds: 2 });
    const remove = (id: string) => world.site.api.request().delete(`/api/v1/exports/${id}`).set(world.admin.headers);
    expect((await remove(base.id)).body).toMatchObject({ code: 'export.in-use' });
    await remove(child.id).expect(204);
    await remove(base.id).expect(204);
    expect(await world.store.head(command.payload.objectKey)).toBeNull();
    expect(await world.get(`/api/v1/exports/${base.id}`)).toMatchObject({ status: 404 });
  });

  it('whose replica node is gone is given up', async () => {
    const [point] = await points(vm);
    const { id } = await accepted(point!.id, { diskOrdinal: 0, format: 'raw' });
    await node.command('point.export', id);
    await giveUp(id);
    expect(await ended(id)).toMatchObject({ state: 'Failed', failureCode: 'export.node-lost' });
  });

  it('leaves nothing in the clear when it was deleted while a node that had been given up was still storing its file', async () => {
    const [point, newest] = await points(vm);
    const kept = await accepted(newest!.id, { diskOrdinal: 0, format: 'raw' });
    const { command: keptCommand } = await finish(kept.id);
    const waiting = await accepted(newest!.id, { diskOrdinal: 0, format: 'qcow2' });
    const making = await node.command('point.export', waiting.id);
    const { id } = await accepted(point!.id, { diskOrdinal: 0, format: 'raw' });
    const { objectKey } = (await node.command('point.export', id)).payload;

    await giveUp(id);
    await world.site.api.request().delete(`/api/v1/exports/${id}`).set(world.admin.headers).expect(204);
    // The node got past its question before: what it was storing appears now, and beside it the file of one that was given up too and is still listed.
    await node.report();
    for (const key of [objectKey, making.payload.objectKey]) await store(key);
    const platform = await world.database.platform();
    const sweep = new SweepExports(platform, world.database.unitOfWork, world.store);
    await eventually('the store is marked as this database own', async () => {
      const { isStamped } = await platform.run((tx) =>
        tx.one<{ isStamped: boolean }>(`select stamped_incarnation = incarnation as "isStamped" from installation`),
      );
      return isStamped ? true : undefined;
    });
    const context = { logger: new SilentLogger(), signal: new AbortController().signal };
    await sweep.run(context);
    expect(await world.store.head(objectKey)).toBeNull();
    for (const command of [keptCommand, making]) expect(await world.store.head(command.payload.objectKey)).not.toBeNull();

    // A retry of the node, later still, and what no export was ever called.
    await store(objectKey);
    await store(objectKey.replace(/[^/]+$/, 'other'));
    await sweep.run(context);
    const left: string[] = [];
    for await (const { key } of world.store.list(objectKey.replace(/[^/]+$/, ''))) left.push(key);
    expect(left).not.toContain(objectKey);
    expect(left.filter((key) => key.endsWith('/other'))).toEqual([]);
    expect(left).toContain(keptCommand.payload.objectKey);
  });

  it('of what is not there is refused', async () => {
    const [point] = await points(vm);
    expect(await wish(point!.id, { diskOrdinal: 1, format: 'raw' })).toMatchObject({ status: 400, body: { code: 'export.no-such-disk' } });
    expect(await wish(newId(), { diskOrdinal: 0, format: 'raw' })).toMatchObject({ status: 404 });
    expect(await wish(point!.id, { diskOrdinal: 0, format: 'vmdk' })).toMatchObject({ status: 400 });
  });

  it('waits for a replica node while there is none', async () => {
    await world.database.asSuperuser(`update replica_node set reported_at = now() - interval '1 hour'`);
    const [point] = await points(vm);
    const { id } = await accepted(point!.id, { diskOrdinal: 0, format: 'raw' });
    await eventually('it was tried', async () => {
      const [row] = await world.database.asSuperuser<{ attempts: number }>(
        `select attempts from outbox_event where payload->>'exportId' = $1`,
        [id],
      );
      return row !== undefined && row.attempts > 0;
    });
    expect((await world.get(`/api/v1/exports/${id}`)).body).toMatchObject({ state: 'Queued' });
    await node.report();
    expect((await finish(id)).view.state).toBe('Completed');
  });
});

describe('a differencing VHD', () => {
  const IDENTITY = { uniqueId: newId(), timestampSeconds: 800_000_000 };
  const vhd = { diskOrdinal: 0, format: 'vhd' };

  it('stands on a finished VHD of an earlier point of its own path', async () => {
    const [older, newer] = await points(vm);
    const base = await accepted(older!.id, vhd);
    const early = await wish(newer!.id, { ...vhd, baseExportId: base.id });
    expect(early).toMatchObject({ status: 400, body: { code: 'export.base-unfit' } });
    const { view } = await finish(base.id, undefined, IDENTITY);

    const child = await accepted(newer!.id, { ...vhd, baseExportId: base.id });
    const { command } = await finish(child.id, undefined, { ...IDENTITY, uniqueId: newId() });
    expect(command.payload.base).toEqual({ point: expect.objectContaining({ cycle: older!.cycle }), fileName: view.fileName, ...IDENTITY });
    expect((await world.get(`/api/v1/exports/${child.id}`)).body).toMatchObject({ baseExportId: base.id });

    // Its own point, a later one, and another format are no base.
    for (const [pointId, body, code] of [
      [older!.id, vhd, 'export.base-not-ancestor'],
      [newer!.id, { ...vhd, format: 'vhdx' }, 'export.base-unfit'],
      [older!.id, { ...vhd, baseExportId: child.id }, 'export.base-not-ancestor'],
    ] as const)
      expect(await wish(pointId, { baseExportId: base.id, ...body })).toMatchObject({ status: 400, body: { code } });
  });

  it('may be a VHDX too, over a VHDX of any kind that is known by its id', async () => {
    const [older, newer] = await points(vm);
    const vhdx = { diskOrdinal: 0, format: 'vhdx' };
    const uniqueId = newId();
    const base = await accepted(older!.id, { ...vhdx, format: 'fixed-vhdx' });
    const { view } = await finish(base.id, undefined, { uniqueId, timestampSeconds: null });
    expect(view.fileName).toMatch(/\.vhdx$/);
    const child = await accepted(newer!.id, { ...vhdx, baseExportId: base.id });
    const { command } = await finish(child.id);
    expect(command.payload).toMatchObject({ format: 'vhdx', base: { fileName: view.fileName, uniqueId, timestampSeconds: null } });
    // The child's node told no id, as an older one would: nothing stands on that. Nor do kinds mix, nor does a fixed one stand on anything.
    for (const [format, baseExportId] of [
      ['vhdx', child.id],
      ['vhd', base.id],
      ['fixed-vhdx', base.id],
      ['qcow2', base.id],
    ])
      expect(await wish(newer!.id, { diskOrdinal: 0, format, baseExportId })).toMatchObject({
        status: 400,
        body: { code: 'export.base-unfit' },
      });
  });

  it("does not stand on another VM's file, nor on another tenant's", async () => {
    const other = await world.protect();
    const [foreign] = await points(other);
    const base = await accepted(foreign!.id, vhd);
    await finish(base.id, undefined, IDENTITY);
    const [, newer] = await points(vm);
    expect(await wish(newer!.id, { ...vhd, baseExportId: base.id })).toMatchObject({
      status: 400,
      body: { code: 'export.base-not-ancestor' },
    });

    const fabrikam = await (await world.site.api.tenant('fabrikam')).person('admin');
    expect(await world.post(`/api/v1/recovery-points/${newer!.id}/exports`, vhd, fabrikam)).toMatchObject({ status: 404 });
    expect(await world.get(`/api/v1/exports/${base.id}/content`, fabrikam)).toMatchObject({
      status: 404,
      body: { code: 'export.not-found' },
    });
  });
});
