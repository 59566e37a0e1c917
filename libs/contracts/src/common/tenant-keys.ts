import { z } from 'zod';
import { sha256Hex } from './scalars.js';

/** Who holds the private half of a tenant's key: the provider's key provider, or the tenant alone. */
export const keyHolder = z.enum(['provider', 'tenant']);
export type KeyHolder = z.infer<typeof keyHolder>;

/** SubjectPublicKeyInfo of an RSA key, base64. */
export const publicKeySpki = z.base64().min(1).max(4096);

/** A version of a tenant's key as agents and key holders check it: each one after the first says how it follows from the one before. */
export const tenantKeyLink = z.object({
  version: z.int().min(1),
  holder: keyHolder,
  publicKey: publicKeySpki,
  publicKeySha256: sha256Hex,
  /** RSA-PSS by the private half of the version before, where its holder is the tenant; base64. */
  succession: z.base64().max(2048).nullable(),
});
export type TenantKeyLink = z.infer<typeof tenantKeyLink>;
