import {
  type Mutant,
  at,
  CHAIN,
  inCopy,
  inHistory,
  inLedger,
  inReader,
  inRepair,
  inRetention,
  inSweeps,
  TABLES,
  USE_CASES,
} from './places.js';

/** Mistakes in what goes on beside replication: compaction, collection, repair, carrying on, retention, and readers beside these. */
export const UPKEEP_MUTANTS: readonly Mutant[] = [
  // Compaction and collection.
  {
    name: 'a compaction that drops partial records',
    isOften: true,
    ...inHistory('move-records.ts'),
    from: 'places.some((place)',
    to: 'places.slice(0, 1).some((place)',
  },
  {
    name: 'a compaction that drops zeros',
    ...at(`${CHAIN}/maintenance/move-records.ts`, `${CHAIN}/maintenance/compact.spec.ts`, 'carries zeros on'),
    from: '(await showsZeros(stack, disk, block, zeroCount)) ? bucket.end : null;',
    to: 'null;',
  },
  {
    name: 'an index that keeps the places of before a compaction',
    ...inHistory('compact.ts'),
    from: '(source) => new MovedSource(source, moves)',
    to: '(source) => (moves === null ? new MovedSource(source, moves) : source)',
  },
  {
    name: 'a stray that is written meanwhile',
    ...inHistory('upkeep.ts'),
    from: 'await ledger.hold(address,',
    to: 'void (async () => {})(address,',
  },
  {
    name: 'a lease that keeps no position',
    isOften: true,
    ...inLedger('upkeep-reading.ts', 'a lease'),
    from: '(expires_at is null or expires_at > clock_timestamp())`',
    to: 'false`',
  },
  {
    name: 'a lease that keeps nothing doomed since',
    ...inLedger('upkeep-sweeps.ts', 'a lease|ordered by when'),
    from: '`not exists (select 1 from chain_lease l where',
    to: '`not exists (select 1 from chain_lease l where false and',
  },
  {
    name: 'forks that nobody keeps',
    ...inLedger('upkeep-reading.ts', 'keeps forks'),
    from: 'select frozen_cycle from chain_branch where',
    to: 'select frozen_cycle from chain_branch where false and',
  },
  {
    name: 'a collection without re-check',
    isOften: true,
    ...inLedger('upkeep-sweeps.ts', 'an object that no row'),
    from: 'rows.filter(({ name }) => strangers.has(name))',
    to: 'rows',
  },
  {
    name: 'a condemned object that is taken back',
    ...inLedger('upkeep-sweeps.ts', 'an object that no row|is refused to cycles'),
    from: 'sighted_at = null where chain_stray.condemned_at is null`',
    to: 'sighted_at = null, condemned_at = null`',
  },
  {
    name: 'a switch on another reading',
    ...inLedger('upkeep-changes.ts', 'a switch|one of two switches'),
    from: 'if ((await readUpkeep(tx, chainId)).revision !== revision)',
    to: 'if (revision < 0)',
  },
  {
    name: 'a switch that keeps what another census counted',
    ...inLedger('upkeep-changes.ts', 'a switch'),
    from: '  await forgetOtherBuckets(tx, chainId, change.buckets);\n',
    to: '',
  },
  {
    name: 'a switch that dissolves what came to be kept since',
    ...inLedger('upkeep-changes.ts', 'a switch'),
    from: 'if (await isKeptBeside(tx, chainId, change.buckets))',
    to: 'if (chainId === null)',
  },
  // Repair into history.
  {
    name: 'a switch to what the key holder found wrong',
    ...at(`${USE_CASES}/take-verification.ts`, 'test/integration/chain-repair.spec.ts', 'does not hold to the truth'),
    from: 'wrong.every((indexes) => indexes.length === 0)',
    to: 'wrong.every((indexes) => indexes.length >= 0)',
  },
  {
    name: 'a switch to what does not hold all that shows',
    ...inRepair('mend-segment.ts', 'changes nothing'),
    from: 'if (place === undefined) throw incomplete(entry.sha256);',
    to: 'if (place === undefined) continue;',
  },
  {
    name: 'a fingerprint that nobody compares',
    isOften: true,
    ...inRepair('find-wrong-records.ts', 'is found out'),
    from: 'const isRight = fingerprinter.of(disk, block, count, mask, plaintext).equals(fingerprint);',
    to: 'const isRight = fingerprinter.of(disk, block, count, mask, plaintext).length === fingerprint.length;',
  },
  {
    name: 'a copy that is believed whatever its hash says',
    ...inCopy,
    from: 'if (sha256Hex(bytes) !== sha256) throw',
    to: "if (sha256 === '') throw",
  },
  {
    name: 'a damaged object that is deleted before its copy is read',
    ...inCopy,
    from: '  const bytes = await read(copy.store,',
    to: '  await store.delete(key);\n  const bytes = await read(copy.store,',
  },
  // A third site.
  {
    name: 'a manifest that is carried before its segments',
    ...at(`${CHAIN}/carry/carry-chain.ts`, `${CHAIN}/carry/carry-chain.spec.ts`, 'after a failure of any call'),
    from: '    const { lists } = decodeManifest(bytes, this.carry.address);\n',
    to: '    await this.#put(name, bytes);\n    const { lists } = decodeManifest(bytes, this.carry.address);\n',
  },
  {
    name: 'a third site that is never asked whose it is',
    ...at('libs/replication/src/jobs/carry-chains.ts', 'test/integration/extended-replication.spec.ts'),
    from: 'const { isNew } = await pairSite(copy, installation);',
    to: 'const isNew = installation === null;',
  },
  {
    name: 'a third site that two installations carry to',
    isOften: true,
    ...at(`${CHAIN}/carry/pairing.ts`, `${CHAIN}/carry/pairing.spec.ts`),
    from: 'if (pairings.some((pairing) => pairing.source.id !== source.id))',
    to: "if (source.id === '')",
  },
  // What two operators must say.
  {
    name: 'a held sweep that one operator lets go',
    ...inSweeps(`${TABLES}/held-sweeps.ts`),
    from: 'chain_id = $2 and second_at is not null`',
    to: 'chain_id = $2 and first_at is not null`',
  },
  {
    name: 'an operator who approves a held sweep twice',
    ...inSweeps(`${USE_CASES}/held-collections.ts`),
    from: 'if (sweep.first_by === actor.id)',
    to: "if (sweep.digest === '')",
  },
  // Retention.
  { name: 'a pin that keeps nothing', isOften: true, ...inRetention, from: 'point.isPinned ?', to: 'false ?' },
  {
    name: 'a promise of immutability that keeps nothing',
    isOften: true,
    ...inRetention,
    from: "...whileLater('immutable', immutableUntil(point, rules), now),",
    to: '',
  },
  // Readers beside upkeep.
  {
    name: 'a reader that gives up where a segment is gone',
    isOften: true,
    ...inReader,
    from: 'await this.#reopened(used);',
    to: '',
  },
  {
    name: 'a reader that never resolves again',
    isOften: true,
    ...inReader,
    from: 'isAgain && resolve !== undefined ? await resolve(lost)',
    to: 'false && resolve !== undefined ? await resolve(lost)',
  },
  {
    name: 'a reader that forgets what was dissolved below a lost index',
    isOften: true,
    ...at(`${CHAIN}/view/resolve-again.ts`, `${CHAIN}/view/resolve-again.spec.ts`),
    from: 'const standing = indexes.filter(({ sha256 }) => !lost.has(sha256));',
    to: 'const standing = indexes;',
  },
];
