export interface Mutant {
  /** The mistake. */
  readonly name: string;
  /** The module it is made in, and its text: it must stand there exactly once. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly spec: string;
  /** Only these tests of it, where the others need long. */
  readonly test?: string;
  /** Tried in every run; the others in the long one. */
  readonly isOften?: true;
}

export const CHAIN = 'libs/chain/src';
export const TABLES = 'libs/replication/src/tables';
export const USE_CASES = 'libs/replication/src/use-cases';

/** Where the mutant is made, and where it is found. */
export const at = (file: string, spec: string, test?: string) => ({ file, spec, ...(test === undefined ? {} : { test }) });
export const inFileStore = (file: string) =>
  at(`libs/object-store/src/${file}`, 'libs/object-store/src/file-object-store.spec.ts', 'syncs each');
export const inViews = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/view/chain-model.spec.ts`, 'gives back every point');
export const inTampering = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/view/tampering.spec.ts`);
export const inSegments = (file: string, test: string) => at(`${CHAIN}/${file}`, `${CHAIN}/segment/segment.spec.ts`, test);
export const inCatalogue = (test: string, file = `${TABLES}/catalogue-protocol.ts`) =>
  at(file, 'test/contract/postgres-replica-catalogue.spec.ts', test);
export const inCommit = (file: string) => at(`${USE_CASES}/${file}`, 'test/integration/commit-faults.spec.ts');
export const inLedger = (file: string, test: string) => at(`${TABLES}/${file}`, 'test/contract/postgres-chain-ledger.spec.ts', test);
export const inHistory = (file: string) => at(`${CHAIN}/maintenance/${file}`, 'test/integration/chain-history.spec.ts');
export const inRebuild = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/rebuild/read-chain.spec.ts`, 'has every');
export const inRepair = (file: string, test: string) => at(`${CHAIN}/repair/${file}`, `${CHAIN}/repair/repair.spec.ts`, test);
export const inCopy = at(`${CHAIN}/maintenance/repair-from-copy.ts`, `${CHAIN}/maintenance/scrub.spec.ts`, 'a repair from a copy');
export const inSweeps = (file: string) => at(file, 'test/integration/chain-upkeep.spec.ts', 'two operators');
export const inRetention = at(
  'libs/replication/src/domain/retention.ts',
  'libs/replication/src/domain/retention.spec.ts',
  'above all tiers',
);
export const POINT = 'libs/replica-node/src/point';
export const inReader = at(`${POINT}/point-reader.ts`, `${POINT}/point-reader.spec.ts`, 'once for all readers');
