import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '#libs/chain';
import type { CommandPayload } from '#libs/contracts/commands';
import { KIB, MIB, newId, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, WrappedObjectStore } from '#libs/object-store';
import { HostDirectory } from '#libs/peer';
import { SealedChain } from '../../../../test/support/sealed-chain.js';
import { NodeState } from '../state/node-state.js';
import { exportPoint, type ExportServices } from './export-point.js';

const DISK_BYTES = 4 * MIB;

/** As a bucket whose objects end at a size, only sooner. */
class BoundedStore extends WrappedObjectStore {
  override get objectBytesMax(): number {
    return MIB;
  }
}

/** Hands on what it is told, as those do that a node's store is wrapped in. */
class HandingOn extends WrappedObjectStore {}

let directory: string;
let state: NodeState;
let chain: SealedChain;
let store: MemoryObjectStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-export-'));
  state = await NodeState.open(await HostDirectory.open(directory));
  store = new MemoryObjectStore();
  chain = new SealedChain(store);
  const changes = [2, 3].map((block) => [block, randomBytes(BLOCK_BYTES)] as const);
  await chain.addPoint([{ ordinal: 0, name: 'system', sizeBytes: DISK_BYTES, bus: 'scsi', bootOrder: 1, changes }]);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function exported(format: CommandPayload<'point.export'>['format'], services: Partial<ExportServices>) {
  const exportId = newId();
  const source = chain.source();
  const command = { exportId, source, diskOrdinal: 0, format, base: null, objectKey: `e/${exportId}` };
  const receiver = { reading: () => Promise.resolve({ layers: [], indexes: [], replacements: [] }) };
  const all = { store, unwrap: chain.unwrap, receiver, state, clock: new SystemClock(), logger: new SilentLogger(), ...services };
  return exportPoint(command, all as ExportServices, new AbortController().signal);
}

async function written(): Promise<string[]> {
  const keys = await readdir(state.scratchPath);
  for await (const { key } of store.list('e/')) keys.push(key);
  return keys;
}

describe('the file of an export', () => {
  it('is refused before anything is written where the store takes no object so large, and may fit in another format', async () => {
    const bounded = new HandingOn(new BoundedStore(store));
    for (const format of ['raw', 'fixed-vhd'] as const) {
      await expect(exported(format, { store: bounded, scratchMaxBytes: 1 })).rejects.toMatchObject({
        code: 'export.store-limit-exceeded',
        details: { maxBytes: MIB },
      });
    }
    expect(await written()).toEqual([]);
    const { sizeBytes } = await exported('qcow2', { store: bounded });
    expect(sizeBytes).toBeLessThanOrEqual(MIB);
    expect(await written()).toEqual([expect.stringMatching(/^e\//)]);
  });

  it('may hold as much data as the node was told to build, whatever it holds in zeros', async () => {
    const told = { scratchMaxBytes: 2 * BLOCK_BYTES };
    await expect(exported('raw', { scratchMaxBytes: told.scratchMaxBytes - 4 * KIB })).rejects.toMatchObject({
      code: 'export.scratch-exceeded',
    });
    expect(await written()).toEqual([]);
    expect(await exported('raw', told)).toMatchObject({ sizeBytes: DISK_BYTES });
  });
});
