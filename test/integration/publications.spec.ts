import { execFile } from 'node:child_process';
import { createHash, createPrivateKey } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rsaUnwrapper } from '#libs/chain';
import { publicationIndex, type PublicationIndex, type PublicationView } from '#libs/contracts/http';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { HostDirectory } from '#libs/peer';
import { putBytes } from '#libs/object-store';
import { exportPoint, NodeState } from '#libs/replica-node';
import { eventually } from '../support/eventually.js';
import { FailoverWorld } from '../support/failover-world.js';
import { DISK_BYTES, type ProtectedVm } from '../support/protected-vm.js';
import { identityKeys } from '../support/receiver.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* From the wish to files that stand on one another in the store. The replica node's commands are played; the files are made by its own code. */

const run = promisify(execFile);

let world: FailoverWorld;
let node: TestReplicaNode;
let directory: string;
let state: NodeState;

beforeAll(async () => {
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  await node.report();
  directory = await mkdtemp(join(tmpdir(), 'holdfast-publications-'));
  state = await NodeState.open(await HostDirectory.open(join(directory, 'node')));
});
afterAll(async () => {
  await world?.stop();
  await rm(directory, { recursive: true, force: true });
});

const pathOf = (vm: ProtectedVm): string => `/api/v1/relationships/${vm.id}/publications`;

async function publish(vm: ProtectedVm, body: object): Promise<PublicationView> {
  const answer = await world.post(pathOf(vm), body);
  expect(answer).toMatchObject({ status: 202 });
  return answer.body as PublicationView;
}

const viewOf = async (id: string): Promise<PublicationView> => (await world.get(`/api/v1/publications/${id}`)).body as PublicationView;

interface FileRow {
  readonly id: string;
  readonly state: string;
}

/** The next file that is asked for, as its id; undefined when the publication has come to rest without one. */
async function nextFile(id: string): Promise<string | undefined> {
  return eventually(
    'a file is asked for, or all are there',
    async () => {
      await node.report();
      const { body } = await world.get(`/api/v1/publications/${id}/files`);
      const making = (body.items as FileRow[]).find(({ state }) => state === 'InProgress');
      if (making !== undefined) return { id: making.id };
      const view = await viewOf(id);
      const isOver =
        view.state === 'Completed' || (view.state === 'Active' && view.waitingCount === 0 && (body.items as FileRow[]).length > 0);
      return isOver ? { id: undefined } : undefined;
    },
    20_000,
  ).then((found) => found.id);
}

/** Does as a replica node until nothing more is asked for. */
async function work(id: string): Promise<number> {
  const { unwrapping } = await identityKeys();
  const unwrap = rsaUnwrapper(createPrivateKey(unwrapping.privateKeyPem.reveal()));
  for (let made = 0; ; made += 1) {
    const file = await nextFile(id);
    if (file === undefined) return made;
    const command = await node.command('point.export', file);
    const services = { store: world.store, unwrap, receiver: node.readings, state, clock: new SystemClock(), logger: new SilentLogger() };
    const data = await exportPoint(command.payload, services, new AbortController().signal);
    await node.answer(command, { data: { ...data } });
  }
}

/** Lets the publication look for new points now, and not at its next time. */
const hurry = (id: string) => world.database.asSuperuser(`update publication set due_at = now() where id = $1`, [id]);

/** The last of the listings, as somebody finds it who knows nothing but the location. */
async function indexOf({ location }: PublicationView): Promise<PublicationIndex> {
  let last = '';
  for await (const { key } of world.store.list(`${location}index-`)) last = key;
  return publicationIndex.parse(JSON.parse((await world.store.get(last)).toString()));
}

/** Waits for a listing of which this is true. */
const indexWhere = (view: PublicationView, isTrue: (index: PublicationIndex) => boolean): Promise<PublicationIndex> =>
  eventually(
    'the listing says so',
    async () => {
      const index = await indexOf(view).catch(() => undefined);
      return index !== undefined && isTrue(index) ? index : undefined;
    },
    30_000,
  );

/** The disk of a point, straight from the chain. */
async function diskOf(vm: ProtectedVm, pointId: string): Promise<Buffer> {
  const { body } = await world.post(`/api/v1/recovery-points/${pointId}/exports`, { diskOrdinal: 0, format: 'raw' });
  const command = await node.command('point.export', body.id as string);
  const view = await node.open(command.payload.source, world.store);
  try {
    return await view.disk(0).read(0, DISK_BYTES);
  } finally {
    view.close();
    await node.answer(command, { outcome: 'failed', code: 'export.failed', message: 'only looked at' });
  }
}

/** Fetches what an S3 client would, and lets 7-Zip follow the chain from each file on. */
async function expectFilesAreThePoints(vm: ProtectedVm, view: PublicationView): Promise<void> {
  const index = await indexOf(view);
  const place = join(directory, view.id);
  for (const { file, sizeBytes, sha256 } of index.files) {
    const bytes = await world.store.get(`${view.location}${file}`);
    expect({ sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }).toEqual({ sizeBytes, sha256 });
    await mkdir(dirname(join(place, file)), { recursive: true });
    await writeFile(join(place, file), bytes);
  }
  for (const { file, pointId, isIntermediate } of index.files) {
    if (isIntermediate) continue;
    const { stdout } = await run('7z', ['e', '-so', join(place, file)], { encoding: 'buffer', maxBuffer: 2 * DISK_BYTES });
    expect(stdout.equals(await diskOf(vm, pointId))).toBe(true);
  }
  await rm(place, { recursive: true });
}

describe.each(['vhd', 'vhdx'] as const)('a publication as %s', (format) => {
  let vm: ProtectedVm;
  let view: PublicationView;

  beforeAll(async () => {
    vm = await world.protect();
    for (const block of [1, 40, 0]) await vm.cycle(block);
  });

  it('is a base and a file for each later point, byte for byte the points to an independent reader', async () => {
    view = await publish(vm, { format, follow: true });
    expect(view).toMatchObject({ state: 'Active', fileCount: 0, location: `t/${world.tenant.id}/p/${view.id}/` });
    expect(await work(view.id)).toBe(4);
    const index = await indexWhere(view, ({ files }) => files.length === 4);
    expect(index.files.map(({ parent }) => parent)).toEqual([null, ...index.files.slice(0, -1).map(({ file }) => file)]);
    for (const { file } of index.files) expect(file).toMatch(new RegExp(`^0/\\d{8}-[0-9a-f]{12}\\.${format}$`));
    await expectFilesAreThePoints(vm, view);
    expect(await viewOf(view.id)).toMatchObject({
      state: 'Active',
      fileCount: 4,
      intermediateCount: 0,
      waitingCount: 0,
      failureCode: null,
    });
  });

  it('keeps up with points that come, and makes a file anew that could not be made', async () => {
    await vm.cycle(7);
    await hurry(view.id);
    const first = (await eventually('it is asked for', async () => (await nextFile(view.id)) ?? undefined))!;
    await node.answer(await node.command('point.export', first), { outcome: 'failed', code: 'object.store-full', message: 'no room' });
    await eventually('it shows', async () => ((await viewOf(view.id)).failureCode === 'object.store-full' ? true : undefined));
    await eventually('it is asked for again', async () => ((await nextFile(view.id)) === undefined ? undefined : true), 30_000);
    expect(await work(view.id)).toBe(1);
    await indexWhere(view, ({ files }) => files.length === 5);
    expect(await viewOf(view.id)).toMatchObject({ failureCode: null });
    await expectFilesAreThePoints(vm, view);
  });

  it('keeps what others stand on when its point goes, and begins anew when that is most of it', async () => {
    const { body } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
    const points = (body.items as { id: string }[]).toReversed();
    for (const { id } of points.slice(0, 3)) {
      await world.site.api.request().delete(`/api/v1/recovery-points/${id}`).set(world.admin.headers).expect(204);
    }
    await hurry(view.id);
    const marked = await indexWhere(view, ({ files }) => files.filter(({ isIntermediate }) => isIntermediate).length === 3);
    expect(marked.files).toHaveLength(5);
    await expectFilesAreThePoints(vm, view);
    await vm.cycle(9);
    await hurry(view.id);
    await eventually('it is asked for', async () => (await nextFile(view.id)) ?? undefined, 30_000);
    expect(await work(view.id)).toBe(1);
    const index = await indexWhere(view, ({ files }) => files.length === 6);
    expect(index.files.at(-1)).toMatchObject({ parent: null, isIntermediate: false });
    await expectFilesAreThePoints(vm, view);

    for (const { id } of points.slice(3)) {
      await world.site.api.request().delete(`/api/v1/recovery-points/${id}`).set(world.admin.headers).expect(204);
    }
    await hurry(view.id);
    const last = await indexWhere(view, ({ files }) => files.length === 1);
    await expectFilesAreThePoints(vm, view);
    const keys = [];
    for await (const { key } of world.store.list(view.location)) keys.push(key);
    expect(keys).toEqual([`${view.location}${last.files[0]!.file}`, `${view.location}${(await viewOf(view.id)).index!}`]);
  });

  it('stops, is taken up again, and goes with all its files', async () => {
    expect(await world.post(`/api/v1/publications/${view.id}/stop`)).toMatchObject({ status: 200, body: { state: 'Stopped' } });
    await vm.cycle(3);
    expect(await publish(vm, { format, points: { kind: 'newest', count: 1 } })).toMatchObject({
      id: view.id,
      state: 'Active',
      follow: false,
    });
    expect(await work(view.id)).toBe(1);
    expect(await viewOf(view.id)).toMatchObject({ state: 'Completed', fileCount: 2 });
    await expectFilesAreThePoints(vm, view);
    const remove = () => world.site.api.request().delete(`/api/v1/publications/${view.id}`).set(world.admin.headers);
    expect((await remove().expect(202)).body).toMatchObject({ state: 'Deleting' });
    await eventually(
      'it is gone',
      async () => ((await world.get(`/api/v1/publications/${view.id}`)).status === 404 ? true : undefined),
      20_000,
    );
    for await (const { key } of world.store.list(view.location)) expect.fail(`${key} is left`);
    const { body } = await world.get('/api/v1/audit-events?limit=50');
    const actions = (body.items as { action: string }[]).map(({ action }) => action);
    expect(actions).toEqual(expect.arrayContaining(['publication.requested', 'publication.stopped', 'publication.deleted']));
  });
});

describe('a publication that is deleted while a node is at a file of it', () => {
  const keysBelow = async (location: string): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of world.store.list(location)) keys.push(key);
    return keys;
  };
  const begin = async () => {
    const vm = await world.protect();
    const view = await publish(vm, { format: 'vhd', follow: true });
    const file = (await nextFile(view.id))!;
    const command = await node.command('point.export', file);
    await world.site.api.request().delete(`/api/v1/publications/${view.id}`).set(world.admin.headers).expect(202);
    // As when the node was silent for long.
    await world.database.asSuperuser(
      `update point_export set state = 'Failed', failure_code = 'export.node-lost', failure_message = '' where id = $1`,
      [file],
    );
    await world.database.asSuperuser(`delete from chain_lease where id = $1`, [file]);
    await hurry(view.id);
    return { view, command };
  };
  const isGone = (id: string) => async () => ((await world.get(`/api/v1/publications/${id}`)).status === 404 ? true : undefined);

  it('is not gone before the node has ended, and takes what that wrote late with it', async () => {
    const { view, command } = await begin();
    await putBytes(world.store, command.payload.objectKey, Buffer.from('plaintext that was on its way'));
    await hurry(view.id);
    await eventually('it is swept', async () => ((await keysBelow(view.location)).length === 0 ? true : undefined), 20_000);
    expect(await viewOf(view.id)).toMatchObject({ state: 'Deleting' });
    await putBytes(world.store, command.payload.objectKey, Buffer.from('and once more'));
    await node.answer(command, { outcome: 'failed', code: 'export.withdrawn', message: 'gone' });
    await hurry(view.id);
    await eventually('it is gone', isGone(view.id), 20_000);
    expect(await keysBelow(view.location)).toEqual([]);
  });

  it('gets no file from a node that has not begun to store it', async () => {
    const { view, command } = await begin();
    const { unwrapping } = await identityKeys();
    const unwrap = rsaUnwrapper(createPrivateKey(unwrapping.privateKeyPem.reveal()));
    const services = { store: world.store, unwrap, receiver: node.readings, state, clock: new SystemClock(), logger: new SilentLogger() };
    await expect(exportPoint(command.payload, services, new AbortController().signal)).rejects.toMatchObject({ code: 'export.withdrawn' });
    expect(await world.store.head(command.payload.objectKey)).toBeNull();
    await node.answer(command, { outcome: 'failed', code: 'export.withdrawn', message: 'gone' });
    await hurry(view.id);
    await eventually('it is gone', isGone(view.id), 20_000);
  });
});
