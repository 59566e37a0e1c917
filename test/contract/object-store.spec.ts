import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { SystemClock } from '#libs/kernel';
import {
  FaultyObjectStore,
  FileObjectStore,
  MemoryObjectStore,
  MeteredObjectStore,
  openObjectStore,
  PrefixedObjectStore,
  RetryingObjectStore,
  ThrottledObjectStore,
  type ObjectStore,
  type S3Access,
  type S3ObjectStore,
  type ScriptedFault,
} from '#libs/object-store';
import { startS3Server, type BucketOptions, type S3Server } from '../support/ceph-rgw.js';
import { describeBodiesInParts } from './object-store-in-parts.js';
import { describeS3Store } from './object-store-on-s3.js';
import { describeLocks, describeObjectStore, type OpenedStore, type StoreTraits } from './object-store.js';

/** One server for the file. */
let starting: Promise<S3Server> | undefined;
const s3Server = (): Promise<S3Server> => (starting ??= startS3Server());
afterAll(async () => {
  await starting?.then((server) => server.stop()).catch(() => {});
});

const clock = new SystemClock();
const POLICY = { attemptsMax: 20, firstDelayMs: 1, delayMaxMs: 2 };

const openMemory = async (): Promise<OpenedStore> => ({ store: new MemoryObjectStore(), close: async () => {} });

async function openDirectory(): Promise<OpenedStore> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-store-'));
  return { store: await FileObjectStore.open(directory), close: () => rm(directory, { recursive: true }) };
}

const openS3 =
  (bucket: BucketOptions = {}, access: Partial<S3Access> = {}) =>
  async (): Promise<OpenedStore> => {
    const server = await s3Server();
    const store = await openObjectStore(`s3://${await server.makeBucket(bucket)}/some/prefix`, { ...server.access, ...access });
    return { store, close: async () => (store as S3ObjectStore).close() };
  };

const every2nd = (fault: ScriptedFault['fault'], first: number): ScriptedFault[] =>
  Array.from({ length: 200 }, (_, index) => ({ call: 4 * index + first, fault }));

const stores: Record<string, { open: () => Promise<OpenedStore>; traits?: StoreTraits }> = {
  MemoryObjectStore: { open: openMemory },
  FileObjectStore: { open: openDirectory, traits: { createsOnce: true } },
  S3ObjectStore: { open: openS3() },
  'S3ObjectStore on a versioned bucket': { open: openS3({ isVersioned: true }) },
};

const wrappers: Record<string, { wrap: (inner: ObjectStore) => ObjectStore; traits?: StoreTraits }> = {
  RetryingObjectStore: { wrap: (inner) => new RetryingObjectStore(inner, POLICY, clock) },
  'RetryingObjectStore over FaultyObjectStore': {
    wrap: (inner) => {
      const script = [...every2nd('unavailable', 1), ...every2nd('answer-lost', 3)];
      return new RetryingObjectStore(new FaultyObjectStore(inner, script), POLICY, clock);
    },
    traits: { losesAnswers: true },
  },
  'FaultyObjectStore without a fault': { wrap: (inner) => new FaultyObjectStore(inner, []) },
  ThrottledObjectStore: {
    wrap: (inner) => new ThrottledObjectStore(inner, { putBytesPerSecond: 4e9, getBytesPerSecond: 4e9, callsPerSecond: 1e5 }, clock),
  },
  MeteredObjectStore: { wrap: (inner) => new MeteredObjectStore(inner, () => {}, clock) },
  PrefixedObjectStore: { wrap: (inner) => new PrefixedObjectStore(inner, 'own/'), traits: { root: 'own/' } },
};

for (const [name, { open, traits }] of Object.entries(stores)) {
  describeObjectStore(name, open, traits);
  if (name.includes('versioned')) continue;
  for (const [wrapper, { wrap, traits: ofWrapper }] of Object.entries(wrappers)) {
    const openWrapped = async (): Promise<OpenedStore> => {
      const { store, close } = await open();
      return { store: wrap(store), close };
    };
    describeObjectStore(`${wrapper} over ${name}`, openWrapped, { ...traits, createsOnce: false, ...ofWrapper });
  }
}

const openLockable = async (): Promise<OpenedStore> => ({
  store: new MemoryObjectStore({ locking: 'governance' }),
  close: async () => {},
});
describeLocks('MemoryObjectStore', 'governance', openLockable);
describeLocks('S3ObjectStore', 'compliance', openS3({ objectLock: true }));
describeLocks('S3ObjectStore for trials', 'governance', openS3({ objectLock: true }, { lockMode: 'governance' }));
describeS3Store(s3Server);
describeBodiesInParts(s3Server);
