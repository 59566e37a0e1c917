import { markKeyRecorded, type TenantKeyRow, toTenantKeyRecord } from '#libs/agents';
import { putTenantKeyRecord } from '#libs/chain';
import type { ObjectStore } from '#libs/object-store';
import type { UnitOfWork } from '#libs/platform';

/** Before anything that is wrapped to this version is stored: without its reference a rebuilt catalogue could not have it opened. May be repeated. */
export async function recordTenantKey(store: ObjectStore, unitOfWork: UnitOfWork, key: TenantKeyRow): Promise<void> {
  if (key.recorded_at !== null) return;
  await putTenantKeyRecord(store, toTenantKeyRecord(key));
  await unitOfWork.run(key.tenant_id, (tx) => markKeyRecorded(tx, key));
}
