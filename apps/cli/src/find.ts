import { HoldfastClient, type Page } from '#libs/client';
import type { AgentView, FailoverView, RecoveryPointView, RelationshipView, TenantView, VmView } from '#libs/contracts/http';
import { CodedError, isUuid } from '#libs/kernel';

interface Kind<T> {
  readonly one: string;
  readonly many: string;
  /** Before the dot of its errors' codes. */
  readonly code: string;
  readonly nameOf: (item: T) => string;
  readonly idsOf: (item: T) => readonly string[];
  readonly list: string;
}

/** The one that is meant: an id first, then a name, then a name in other letters. Throws `<kind>.not-found`, `<kind>.ambiguous`. */
export function pick<T>(kind: Kind<T>, items: readonly T[], meant: string): T {
  const same = (a: string): boolean => a.toLowerCase() === meant.toLowerCase();
  const byId = items.filter((item) => kind.idsOf(item).some(same));
  const byName = items.filter((item) => kind.nameOf(item) === meant);
  const found = [byId, byName, items.filter((item) => same(kind.nameOf(item)))].find(({ length }) => length > 0) ?? [];
  if (found.length === 1) return found[0]!;
  if (found.length > 1) {
    const ids = found.map((item) => kind.idsOf(item)[0]!);
    const message = `${found.length} ${kind.many} are called ${meant}; say which by its id: ${ids.join(', ')}`;
    throw new CodedError(`${kind.code}.ambiguous`, 'invalid', message, { ids });
  }
  const alike = items.map(kind.nameOf).filter((name) => name.toLowerCase().includes(meant.toLowerCase()));
  const hint = alike.length === 0 ? `; \`holdfast ${kind.list}\` shows those there are` : `; did you mean ${alike.slice(0, 3).join(', ')}?`;
  throw new CodedError(`${kind.code}.not-found`, 'not-found', `there is no ${kind.one} ${meant}${hint}`);
}

export async function findVm(client: HoldfastClient, meant: string): Promise<VmView> {
  if (isUuid(meant)) return client.vms.get(meant);
  const { items } = await client.vms.list();
  const kind = { one: 'VM', many: 'VMs', code: 'vm', list: 'vms list' };
  return pick({ ...kind, nameOf: ({ name }) => name, idsOf: ({ id }) => [id] }, items, meant);
}

/** Of a VM by its name, its id, or the relationship's own id. */
export async function findRelationship(client: HoldfastClient, meant: string): Promise<RelationshipView> {
  const { items } = await client.relationships.list();
  const kind = { one: 'protected VM', many: 'protected VMs', code: 'relationship', list: 'replication list' };
  return pick({ ...kind, nameOf: ({ vmName }) => vmName, idsOf: ({ vmId, id }) => [vmId, id] }, items, meant);
}

/** A recovery point by id, or the newest one of a VM. */
export async function findPointId(client: HoldfastClient, meant: string): Promise<string> {
  const { items } = await client.relationships.list();
  if (isUuid(meant) && !items.some(({ id, vmId }) => id === meant || vmId === meant)) return meant;
  return (await newestPoint(client, await findRelationship(client, meant))).id;
}

async function newestPoint(client: HoldfastClient, { id, vmName }: RelationshipView): Promise<RecoveryPointView> {
  const { items } = await client.relationships.recoveryPoints(id, { limit: 1000 });
  if (items[0] === undefined) throw new CodedError('recovery-point.not-found', 'not-found', `${vmName} has no recovery point yet`);
  // A damaged one is only taken by its own id.
  return items.find(({ isDamaged }) => !isDamaged) ?? items[0];
}

/** A recovery point of this VM, by its number on the written branch's path, or by its id. */
export async function findPointOf(client: HoldfastClient, { id, vmName }: RelationshipView, meant: string): Promise<string> {
  if (!/^\d+$/.test(meant)) return meant;
  const { items } = await client.relationships.recoveryPoints(id, { limit: 1000 });
  const found = items.find(({ sequence }) => sequence === Number(meant));
  if (found === undefined) throw new CodedError('recovery-point.not-found', 'not-found', `${vmName} has no recovery point ${meant}`);
  return found.id;
}

/** A failover by id, or the newest one of a VM. */
export async function findFailover(client: HoldfastClient, meant: string): Promise<FailoverView> {
  const { items } = await client.failovers.list({ limit: 200 });
  const found =
    items.find(({ id }) => id === meant) ?? items.find(({ vmName, relationshipId }) => vmName === meant || relationshipId === meant);
  if (found !== undefined) return found;
  if (isUuid(meant)) return client.failovers.get(meant);
  throw new CodedError('failover.not-found', 'not-found', `there is no failover of ${meant}`);
}

export async function findAgent(client: HoldfastClient, meant: string): Promise<AgentView> {
  if (isUuid(meant)) return client.agents.get(meant);
  const items = await everyPage((after) => client.agents.list({ limit: 500, after }));
  const kind = { one: 'agent', many: 'agents', code: 'agent', list: 'agents list' };
  return pick({ ...kind, nameOf: ({ fqdn }) => fqdn, idsOf: ({ id }) => [id] }, items, meant);
}

export async function findTenant(client: HoldfastClient, meant: string): Promise<TenantView> {
  const items = await everyPage((after) => client.operator.tenants({ limit: 500, after }));
  const kind = { one: 'tenant', many: 'tenants', code: 'tenant', list: 'operator tenants list' };
  return pick({ ...kind, nameOf: ({ slug }) => slug, idsOf: ({ id }) => [id] }, items, meant);
}

/** All there are, page by page. */
export async function everyPage<T>(page: (after: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const all: T[] = [];
  let after: string | undefined;
  do {
    const { items, next } = await page(after);
    all.push(...items);
    after = next ?? undefined;
  } while (after !== undefined);
  return all;
}
