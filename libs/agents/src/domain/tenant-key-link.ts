import type { TenantKeyLink } from '#libs/contracts/common';

interface KeyVersion {
  readonly version: number;
  readonly holder: TenantKeyLink['holder'];
  readonly public_key: Buffer;
  readonly public_key_sha256: string;
  readonly succession: Buffer | null;
}

/** A version of a tenant's key as others check it. */
export function toTenantKeyLink(row: KeyVersion): TenantKeyLink {
  return {
    version: row.version,
    holder: row.holder,
    publicKey: row.public_key.toString('base64'),
    publicKeySha256: row.public_key_sha256,
    succession: row.succession?.toString('base64') ?? null,
  };
}
