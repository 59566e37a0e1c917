import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { isFailoverEnded, type Page } from '#libs/client';
import type {
  ChainCheckView,
  ChainStatView,
  CycleView,
  FailoverView,
  PublicationView,
  RecoveryPointView,
  RelationshipView,
  RetentionPlanView,
  VmView,
} from '#libs/contracts/http';
import { client, POLL_FAILOVER_MS, POLL_MS, POLL_SLOW_MS } from '../api.js';

/** A VM and, where it is protected, its relationship. */
export interface Protected {
  readonly vm: VmView;
  readonly relationship: RelationshipView | null;
}

const RANK: Readonly<Record<RelationshipView['health'], number>> = { Critical: 0, Warning: 1, NotApplicable: 3, Normal: 3 };
const rankOf = ({ relationship }: Protected): number => (relationship === null ? 2 : RANK[relationship.health]);

/** What needs attention first; then by name. */
export function useVms(): UseQueryResult<Protected[]> {
  return useQuery({
    queryKey: ['vms'],
    queryFn: async ({ signal }) => {
      const [vms, relationships] = await Promise.all([client.vms.list({ signal }), client.relationships.list({ signal })]);
      const byVm = new Map(relationships.items.map((relationship) => [relationship.vmId, relationship]));
      return vms.items
        .map((vm) => ({ vm, relationship: byVm.get(vm.id) ?? null }))
        .sort((a, b) => rankOf(a) - rankOf(b) || a.vm.name.localeCompare(b.vm.name));
    },
    refetchInterval: POLL_MS,
  });
}

export function useVm(id: string): UseQueryResult<Protected> {
  return useQuery({
    queryKey: ['vm', id],
    queryFn: async ({ signal }) => {
      const vm = await client.vms.get(id, { signal });
      return { vm, relationship: vm.relationshipId === null ? null : await client.relationships.get(vm.relationshipId, { signal }) };
    },
    refetchInterval: POLL_MS,
  });
}

export function useCycles(relationshipId: string): UseQueryResult<Page<CycleView>> {
  return useQuery({
    queryKey: ['cycles', relationshipId],
    queryFn: ({ signal }) => client.relationships.cycles(relationshipId, { signal, limit: 60 }),
    refetchInterval: POLL_MS,
  });
}

export function useRecoveryPoints(relationshipId: string): UseQueryResult<Page<RecoveryPointView>> {
  return useQuery({
    queryKey: ['recovery-points', relationshipId],
    queryFn: ({ signal }) => client.relationships.recoveryPoints(relationshipId, { signal }),
    refetchInterval: POLL_MS,
  });
}

/** Why each point stays, or that it goes next; told by the server, which alone knows the time that counts. */
export function useRetentionPlan(relationshipId: string): UseQueryResult<RetentionPlanView> {
  return useQuery({
    queryKey: ['retention-plan', relationshipId],
    queryFn: ({ signal }) => client.relationships.retentionPlan(relationshipId, undefined, { signal }),
    refetchInterval: 3 * POLL_SLOW_MS,
  });
}

export function useChainStat(relationshipId: string): UseQueryResult<ChainStatView> {
  return useQuery({
    queryKey: ['chain-stat', relationshipId],
    queryFn: ({ signal }) => client.chains.stat(relationshipId, { signal }),
    refetchInterval: 3 * POLL_SLOW_MS,
  });
}

/** Newest first; every second while one is under way. */
export function useChainChecks(relationshipId: string): UseQueryResult<Page<ChainCheckView>> {
  return useQuery({
    queryKey: ['chain-checks', relationshipId],
    queryFn: ({ signal }) => client.chains.checks(relationshipId, { signal }),
    refetchInterval: ({ state }) => (state.data?.items.some(isCheckUnderWay) === true ? POLL_FAILOVER_MS : POLL_SLOW_MS),
  });
}

export const isCheckUnderWay = ({ state }: ChainCheckView): boolean => state === 'Queued' || state === 'InProgress';

/** Of one VM. */
export function usePublications(relationshipId: string): UseQueryResult<PublicationView[]> {
  return useQuery({
    queryKey: ['publications', relationshipId],
    queryFn: async ({ signal }) => {
      const { items } = await client.publications.list({ signal });
      return items.filter((publication) => publication.relationshipId === relationshipId);
    },
    refetchInterval: POLL_MS,
  });
}

/** Older ones are in the audit log. */
const FAILOVERS_MAX = 20;

export function useFailovers(relationshipId?: string): UseQueryResult<Page<FailoverView>> {
  return useQuery({
    queryKey: ['failovers', relationshipId ?? 'all'],
    queryFn: ({ signal }) => client.failovers.list({ signal, relationshipId, limit: FAILOVERS_MAX }),
    refetchInterval: POLL_MS,
  });
}

/** Every second until it has ended. */
export function useFailover(id: string): UseQueryResult<FailoverView> {
  return useQuery({
    queryKey: ['failover', id],
    queryFn: ({ signal }) => client.failovers.get(id, { signal }),
    refetchInterval: ({ state }) => (state.data !== undefined && isFailoverEnded(state.data) ? POLL_MS * 5 : POLL_FAILOVER_MS),
  });
}
