import { parentPort, workerData } from 'node:worker_threads';
import { asId, assert, CodedError, type ChainId } from '#libs/kernel';
import { discard } from '../discard.js';
import { ChainKeys } from '../keys/chain-keys.js';
import { asBuffer } from '../as-buffer.js';
import type { OpenAnswer, OpenerData, OpenRequest } from './opener-pool.js';
import { openRecords } from './open-records.js';

const port = parentPort;
assert(port !== null, 'this file runs as a worker');
const { chainId, ...material } = workerData as OpenerData;
const keys = new ChainKeys({ ...material, chainId: asId<ChainId>(chainId) });

port.on('message', ({ id, sealed, records, target, offset }: OpenRequest) => {
  port.postMessage({ id, error: attempt(() => openRecords(asBuffer(sealed), records, keys, target, offset)) } satisfies OpenAnswer);
  discard(sealed);
});

/** What is wrong with the records; anything else ends the thread. */
function attempt(work: () => void): OpenAnswer['error'] {
  try {
    work();
    return null;
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    const { code, kind, message, details } = error;
    return { code, kind, message, details };
  }
}
