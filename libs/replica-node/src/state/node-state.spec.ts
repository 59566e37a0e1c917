import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '#libs/kernel';
import { HostDirectory } from '#libs/peer';
import { NodeState } from './node-state.js';
import type { ReplicaRecord } from './replica-record.js';

let parent: string;
beforeEach(async () => (parent = await mkdtemp(join(tmpdir(), 'hf-state-'))));
afterEach(() => rm(parent, { recursive: true }));

const openAt = async (path: string): Promise<NodeState> => NodeState.open(await HostDirectory.open(path));

function aRecord(): ReplicaRecord {
  const point = { branchId: newId(), sequence: 0, cycle: '281474976710657', sha256: 'a'.repeat(64), path: 'c'.repeat(64) };
  const keys = [{ kind: 'data' as const, generation: 1, wrapped: 'AAAA' }];
  const source = { tenantId: newId(), chainId: newId(), point, keys };
  return {
    version: 1,
    start: { failoverId: newId(), type: 'Test', source, network: 'isolated', bootDeadlineMs: 1000 },
    commandId: newId(),
    phase: 'up',
    phaseAt: '2026-03-01T12:00:00.000Z',
    bootedAt: '2026-03-01T11:59:00.000Z',
    bootMs: 60_000,
    proof: { kind: 'console-pattern', detail: 'up by its console: login:' },
    isEvidenceSent: false,
    code: null,
    message: null,
  };
}

describe('the state of a replica node', () => {
  it('keeps replicas, epochs and exports', async () => {
    const state = await openAt(join(parent, 'node'));
    const record = aRecord();
    await state.writeReplica(record);
    const subject = newId();
    await state.writeEpochs({ [subject]: { incarnation: 1, counter: 7 } });
    const result = { sizeBytes: 1, sha256: 'b'.repeat(64), uniqueId: null, timestampSeconds: null };
    const exportId = newId();
    await state.writeExport(exportId, { version: 1, objectKey: 't/x', result });
    const again = await openAt(join(parent, 'node'));
    expect(await again.readReplicas()).toEqual([record]);
    expect(await again.readEpochs()).toEqual({ [subject]: { incarnation: 1, counter: 7 } });
    expect(await again.readExport(exportId)).toEqual({ version: 1, objectKey: 't/x', result });
    expect(await again.readExport(newId())).toBeNull();
  });

  it('is readable by its owner alone', async () => {
    const state = await openAt(join(parent, 'node'));
    const record = aRecord();
    await state.writeReplica(record);
    expect((await stat(join(parent, 'node'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(state.pathsOf(record.start.failoverId).directory, 'replica.json'))).mode & 0o777).toBe(0o600);
  });

  it('removes what has no record, and the scratch of exports', async () => {
    const state = await openAt(join(parent, 'node'));
    const [kept, orphan] = [aRecord(), newId()];
    await state.writeReplica(kept);
    await mkdir(join(parent, 'node/replicas', orphan));
    await writeFile(join(parent, 'node/replicas', orphan, 'overlay-0.qcow2'), 'x');
    await writeFile(join(state.scratchPath, 'half'), 'x');
    const again = await openAt(join(parent, 'node'));
    await again.readReplicas();
    expect(await readdir(join(parent, 'node/replicas'))).toEqual([kept.start.failoverId]);
    expect(await readdir(again.scratchPath)).toEqual([]);
    await again.removeReplica(kept.start.failoverId);
    await again.removeReplica(kept.start.failoverId);
    expect(await again.readReplicas()).toEqual([]);
  });

  it('says which record is broken', async () => {
    const state = await openAt(join(parent, 'node'));
    const record = aRecord();
    await state.writeReplica(record);
    await writeFile(join(state.pathsOf(record.start.failoverId).directory, 'replica.json'), '{"version":1}');
    await expect(state.readReplicas()).rejects.toMatchObject({ code: 'host-state.unreadable' });
  });

  it('keeps sockets short, also below a long path, in a place that is its own', async () => {
    const long = join(parent, 'x'.repeat(120));
    const state = await openAt(long);
    const { nbdSocketPath, qmpSocketPath } = state.pathsOf(newId());
    expect(Buffer.byteLength(nbdSocketPath)).toBeLessThanOrEqual(107);
    expect(Buffer.byteLength(qmpSocketPath)).toBeLessThanOrEqual(107);
    const runtime = join(nbdSocketPath, '..');
    expect(existsSync(runtime)).toBe(true);
    await chmod(runtime, 0o755);
    await expect(openAt(long)).rejects.toMatchObject({ code: 'replica-node-state.runtime-unsafe' });
    await rm(runtime, { recursive: true });
  });

  it('asks for the accelerator once in a boot of the host', async () => {
    const state = await openAt(join(parent, 'node'));
    let probes = 0;
    const probe = async () => {
      probes += 1;
      return 'tcg' as const;
    };
    expect(await state.accelerator(probe)).toBe('tcg');
    expect(await (await openAt(join(parent, 'node'))).accelerator(probe)).toBe('tcg');
    expect(probes).toBe(1);
  });
});
