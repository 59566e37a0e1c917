import { cycleToHex, type ManifestRef } from '#libs/chain';
import { asId, assert, type BranchId } from '#libs/kernel';

type Columns<Prefix extends string> = {
  readonly [K in `${Prefix}_branch_id` | `${Prefix}_cycle` | `${Prefix}_sha256` | `${Prefix}_path`]: string | null;
} & { readonly [K in `${Prefix}_sequence`]: number | null };

/** A reference out of its five columns. */
export function refOf<P extends string>(row: Columns<P>, prefix: P): ManifestRef | null {
  const columns = row as Readonly<Record<string, string | number | null>>;
  const branchId = columns[`${prefix}_branch_id`];
  if (branchId === null || branchId === undefined) return null;
  return {
    branchId: asId<BranchId>(String(branchId)),
    sequence: Number(columns[`${prefix}_sequence`]),
    cycle: cycleOf(String(columns[`${prefix}_cycle`])),
    sha256: String(columns[`${prefix}_sha256`]),
    path: String(columns[`${prefix}_path`]),
  };
}

/** The five parameters of a reference, in the order of its columns. */
export function refParams(ref: ManifestRef | null): [string | null, number | null, string | null, string | null, string | null] {
  return ref === null ? [null, null, null, null, null] : [ref.branchId, ref.sequence, cycleToHex(ref.cycle), ref.sha256, ref.path];
}

export function cycleOf(hex: string): bigint {
  assert(/^[0-9a-f]{16}$/.test(hex), 'a stored cycle has 16 hex digits');
  return BigInt(`0x${hex}`);
}
