import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import type { Page } from '#libs/client';
import type { JobView, ReceiverView, ReplicaNodeView, TenantView } from '#libs/contracts/http';
import { client, POLL_MS, POLL_SLOW_MS } from '../api.js';

interface Items<T> {
  readonly items: T[];
}

export function useTenants(): UseQueryResult<Page<TenantView>> {
  return useQuery({
    queryKey: ['operator', 'tenants'],
    queryFn: ({ signal }) => client.operator.tenants({ signal, limit: 500 }),
    refetchInterval: POLL_SLOW_MS,
  });
}

export function useReplicaNodes(): UseQueryResult<Items<ReplicaNodeView>> {
  return useQuery({
    queryKey: ['operator', 'nodes'],
    queryFn: ({ signal }) => client.operator.replicaNodes({ signal }),
    refetchInterval: POLL_MS,
  });
}

export function useReceivers(): UseQueryResult<Items<ReceiverView>> {
  return useQuery({
    queryKey: ['operator', 'receivers'],
    queryFn: ({ signal }) => client.operator.receivers({ signal }),
    refetchInterval: POLL_MS,
  });
}

export function useJobs(): UseQueryResult<Items<JobView>> {
  return useQuery({ queryKey: ['operator', 'jobs'], queryFn: ({ signal }) => client.operator.jobs({ signal }), refetchInterval: POLL_MS });
}
