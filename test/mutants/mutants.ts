/**
 * The mutation list: mistakes that would lose data, tell wrong bytes or let in who must stay out, one line each. Every one of them is found by the spec that stands beside
 * it, in the turns that this spec takes in `npm test` and always with the same examples; one that survives fails `test/integration/mutants.spec.ts`, and so does one whose text has left its file.
 */
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

const CHAIN = 'libs/chain/src';
const TABLES = 'libs/replication/src/tables';
const USE_CASES = 'libs/replication/src/use-cases';

/** Where the mutant is made, and where it is found. */
const at = (file: string, spec: string, test?: string) => ({ file, spec, ...(test === undefined ? {} : { test }) });
const inFileStore = (file: string) => at(`libs/object-store/src/${file}`, 'libs/object-store/src/file-object-store.spec.ts', 'syncs each');
const inViews = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/view/chain-model.spec.ts`, 'gives back every point');
const inTampering = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/view/tampering.spec.ts`);
const inSegments = (file: string, test: string) => at(`${CHAIN}/${file}`, `${CHAIN}/segment/segment.spec.ts`, test);
const inCatalogue = (test: string, file = `${TABLES}/catalogue-protocol.ts`) =>
  at(file, 'test/contract/postgres-replica-catalogue.spec.ts', test);
const inCommit = (file: string) => at(`${USE_CASES}/${file}`, 'test/integration/commit-faults.spec.ts');
const inLedger = (file: string, test: string) => at(`${TABLES}/${file}`, 'test/contract/postgres-chain-ledger.spec.ts', test);
const inHistory = (file: string) => at(`${CHAIN}/maintenance/${file}`, 'test/integration/chain-history.spec.ts');
const inRebuild = (file: string) => at(`${CHAIN}/${file}`, `${CHAIN}/rebuild/read-chain.spec.ts`, 'has every');
const inRepair = (file: string, test: string) => at(`${CHAIN}/repair/${file}`, `${CHAIN}/repair/repair.spec.ts`, test);
const inCopy = at(`${CHAIN}/maintenance/repair-from-copy.ts`, `${CHAIN}/maintenance/scrub.spec.ts`, 'a repair from a copy');
const inSweeps = (file: string) => at(file, 'test/integration/chain-upkeep.spec.ts', 'two operators');
const inRetention = at('libs/replication/src/domain/retention.ts', 'libs/replication/src/domain/retention.spec.ts', 'above all tiers');
const POINT = 'libs/replica-node/src/point';
const inReader = at(`${POINT}/point-reader.ts`, `${POINT}/point-reader.spec.ts`, 'once for all readers');

export const MUTANTS: readonly Mutant[] = [
  // What is durable, and when.
  {
    name: 'a missing fsync of a file',
    isOften: true,
    ...inFileStore('file-object-store.ts'),
    from: '    await file.sync();\n  } finally',
    to: '  } finally',
  },
  { name: 'a missing fsync of a directory', ...inFileStore('durable-directories.ts'), from: 'await handle.sync();', to: '' },
  {
    name: 'the database before the manifest',
    isOften: true,
    ...inCommit('commit-cycle.ts'),
    from: 'await this.store.put(names.manifest(manifest), bytes, { sizeBytes: bytes.length, sha256: manifestSha256 });',
    to: 'setTimeout(() => void this.store.put(names.manifest(manifest), bytes, { sizeBytes: bytes.length, sha256: manifestSha256 }).catch(() => {}), 50);',
  },
  {
    name: 'a list page that is told of before it is durable',
    ...inCommit('cycle-uploads.ts'),
    from: 'await this.store.put(names.list(sha256), bytes, { sizeBytes: bytes.length, sha256 });',
    to: 'void this.store.put(names.list(sha256), bytes, { sizeBytes: bytes.length, sha256 }).catch(() => {});',
  },
  // What a view shows.
  {
    name: 'a view that prefers the older record',
    isOften: true,
    ...inViews('indexes/merge-page.ts'),
    from: 'for (const { page, end } of parts)',
    to: 'for (const { page, end } of [...parts].reverse())',
  },
  {
    name: 'an index that omits the last record of a page',
    isOften: true,
    ...inViews('indexes/merge-page.ts'),
    from: 'for (let index = 0; index < page.count; index += 1)',
    to: 'for (let index = 0; index < page.count - 1; index += 1)',
  },
  {
    name: 'a shrunk disk whose end nobody heeds',
    ...at(`${CHAIN}/indexes/merge-page.ts`, `${CHAIN}/view/open-view.spec.ts`),
    from: '    endAt(end, decided);\n',
    to: '',
  },
  // What is authentic.
  { name: 'a skipped tag check', isOften: true, ...inTampering('record.ts'), from: '    decipher.final();\n', to: '' },
  {
    name: 'a skipped cycle check',
    isOften: true,
    ...inTampering('view/open-records.ts'),
    from: 'cycle === wanted.cycle',
    to: 'true',
  },
  {
    name: 'a manifest that is believed without its MAC',
    ...at(`${CHAIN}/manifest/manifest-codec.ts`, `${CHAIN}/manifest/documents.spec.ts`),
    from: "throw corrupt('manifest.mac-mismatch'",
    to: "void corrupt('manifest.mac-mismatch'",
  },
  {
    name: 'a fence that is believed whatever its hash says',
    ...at(`${CHAIN}/manifest/fence.ts`, `${CHAIN}/manifest/documents.spec.ts`, 'a fence'),
    from: 'if (seal !== sha256Hex(document))',
    to: 'if (seal === null)',
  },
  { name: 'a reused nonce', isOften: true, ...inSegments('record.ts', 'holds what was sealed'), from: 'this.#nextOrdinal += 1;', to: '' },
  {
    name: 'a salt that comes twice',
    ...inSegments('segment/segment-builder.ts', 'has another salt'),
    from: 'this.#salt = randomBytes(SALT_BYTES);',
    to: 'this.#salt = Buffer.alloc(SALT_BYTES);',
  },
  {
    name: 'a scrub that compares no hash',
    ...at(`${CHAIN}/maintenance/scrub-objects.ts`, `${CHAIN}/maintenance/scrub.spec.ts`, 'finds a bit'),
    from: 'if (found !== expected)',
    to: 'if (found === null)',
  },
  // Who may write, and to what.
  {
    name: 'no check of the authorization tag',
    ...inCatalogue('checks tag'),
    from: 'if (chain.tag !== writer.tag)',
    to: 'if (chain.tag === null)',
  },
  {
    name: 'no check of the parent',
    isOften: true,
    ...inCatalogue('checks tag'),
    from: 'if ((chain.head?.sha256 ?? null) !== request.parent)',
    to: 'if (request.parent === undefined)',
  },
  {
    name: 'a commit before the fingerprint key is durable',
    ...inCatalogue('come before every commit'),
    from: '  await requireFingerprintKey(tx, row.chain_id);\n',
    to: '',
  },
  {
    name: 'a destroyed tenant key that a backup brings back to life',
    ...at('libs/pki/src/file-key-provider.ts', 'libs/pki/src/keys.spec.ts', 'a backup brought back'),
    from: 'if (isDestroyed) throw',
    to: 'if (sealed === undefined) throw',
  },
  { name: 'no check of the epoch', ...inCatalogue('an epoch'), from: 'cycles.requireEpoch(chain.epoch, cycles.epochOf(row));', to: '' },
  { name: 'a commit without a lease', ...inCatalogue('lease has run out'), from: "options.lease === 'must-hold' && ", to: 'false && ' },
  {
    name: 'missing idempotency: a repeated commit is a new one',
    isOften: true,
    ...inCatalogue('answered from the row'),
    from: "  if (row.state !== 'committed') return null;",
    to: '  if (row.id !== null) return null;',
  },
  {
    name: 'a commit that takes doomed segments',
    ...inCatalogue('alive and disjoint'),
    from: 'segment === undefined || segment.doomed_at !== null',
    to: 'segment === undefined',
  },
  {
    name: 'segments of one cycle that overlap',
    ...inCatalogue('alive and disjoint', `${CHAIN}/catalogue/check-commit.ts`),
    from: 'comparePositions(before.last, segment.first) >= 0',
    to: 'segment.first === null',
  },
  // Fences and rebuilding.
  {
    name: 'no fence: manifests of a lost role count',
    isOften: true,
    ...inRebuild('rebuild/choose-manifests.ts'),
    from: 'if (order === 0) return branchId !== ref.branchId;\n    return order < 0 && ',
    to: 'return order > 2 && ',
  },
  {
    name: 'a doom before the snapshot that tells of it',
    isOften: true,
    ...inRebuild('maintenance/compact.ts'),
    from: 'await writeSnapshot(place, reading.snapshot, contentAfter(reading, moved, replacements))',
    to: '(await Promise.resolve([]))',
  },
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
    from: 'const again = await this.#reopened(view);',
    to: 'const again = view;',
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
