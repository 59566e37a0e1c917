import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { EnrolmentTokenView } from '#libs/client';
import type { AgentView, AuthorizationEntryView } from '#libs/contracts/http';
import { client, POLL_MS } from '../api.js';
import { useSession } from '../session/session.js';
import { Answer, Empty, ErrorNotice } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip, ConnectionChip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { AuthorizationEntryDialog, EnrolDialog, RevokeDialog } from './agent-dialogs.js';

type Asking = { readonly kind: 'enrol' | 'authorize' } | { readonly kind: 'revoke'; readonly agent: AgentView };

export function AgentsPage(): ReactNode {
  const { may } = useSession();
  const mayWrite = may('agents:write');
  const queries = useQueryClient();
  const [asking, setAsking] = useState<Asking | null>(null);
  const agents = useQuery({ queryKey: ['agents'], queryFn: ({ signal }) => client.agents.list({ signal }), refetchInterval: POLL_MS });
  const tokens = useQuery({
    queryKey: ['tokens'],
    queryFn: ({ signal }) => client.agents.enrolmentTokens({ signal }),
    refetchInterval: POLL_MS,
  });
  const entries = useQuery({
    queryKey: ['entries'],
    queryFn: ({ signal }) => client.authorizationEntries.list({ signal }),
    refetchInterval: POLL_MS * 5,
  });
  const remove = useMutation({
    mutationFn: (work: () => Promise<void>) => work(),
    onSettled: () => queries.invalidateQueries(),
  });
  const removeButton = (label: string, work: () => Promise<void>): ReactNode =>
    mayWrite ? (
      <button type="button" className="button small" disabled={remove.isPending} aria-label={label} onClick={() => remove.mutate(work)}>
        Delete
      </button>
    ) : null;

  return (
    <Page
      title="Agents"
      about="The programs at your site that send changes here."
      {...(mayWrite
        ? {
            actions: (
              <button type="button" className="button primary" onClick={() => setAsking({ kind: 'enrol' })}>
                Enrol an agent
              </button>
            ),
          }
        : {})}
    >
      {remove.error === null ? null : <ErrorNotice error={remove.error} />}
      <Answer query={agents}>
        {({ items }) => (
          <Card title="Enrolled" isFlush>
            <Table
              label="Agents"
              columns={agentColumns(mayWrite ? (agent) => setAsking({ kind: 'revoke', agent }) : undefined)}
              rows={items}
              keyOf={({ id }) => id}
              empty={<Empty title="No agents yet">Enrol one on the host that runs your VMs: it takes one command.</Empty>}
            />
          </Card>
        )}
      </Answer>
      <Answer query={entries}>
        {({ items }) => (
          <Card
            title="Authorization entries"
            isFlush
            actions={
              mayWrite ? (
                <button type="button" className="button small" onClick={() => setAsking({ kind: 'authorize' })}>
                  Add an entry
                </button>
              ) : null
            }
          >
            <Table
              label="Authorization entries"
              columns={[
                ...ENTRY_COLUMNS,
                {
                  head: '',
                  cell: ({ id, allowedPrimaryServer }) =>
                    removeButton(`Delete the entry for ${allowedPrimaryServer}`, () => client.authorizationEntries.delete(id)),
                },
              ]}
              rows={items}
              keyOf={({ id }) => id}
              empty={<Empty title="Nothing may replicate yet">An entry says which primary servers may send, and under which tag.</Empty>}
            />
          </Card>
        )}
      </Answer>
      <Answer query={tokens}>
        {({ items }) => (
          <Card title="Enrolment tokens" isFlush>
            <Table
              label="Enrolment tokens"
              columns={[
                ...TOKEN_COLUMNS,
                {
                  head: '',
                  cell: ({ id, fqdnPattern, usedAt }) =>
                    usedAt === null
                      ? removeButton(`Delete the token for ${fqdnPattern}`, () => client.agents.deleteEnrolmentToken(id))
                      : null,
                },
              ]}
              rows={items}
              keyOf={({ id }) => id}
              empty={<Empty title="No tokens">Each one enrols one agent, within the hour.</Empty>}
            />
          </Card>
        )}
      </Answer>
      {asking?.kind === 'enrol' ? <EnrolDialog onClose={() => setAsking(null)} /> : null}
      {asking?.kind === 'authorize' ? <AuthorizationEntryDialog onClose={() => setAsking(null)} /> : null}
      {asking?.kind === 'revoke' ? <RevokeDialog agent={asking.agent} onClose={() => setAsking(null)} /> : null}
    </Page>
  );
}

function agentColumns(onRevoke: ((agent: AgentView) => void) | undefined): readonly Column<AgentView>[] {
  return [
    {
      head: 'Host',
      cell: ({ fqdn, version }) => (
        <>
          <span className="name">{fqdn}</span>
          <br />
          <span className="soft small">version {version}</span>
        </>
      ),
    },
    {
      head: 'State',
      cell: ({ state, connected }) =>
        state === 'active' ? (
          <ConnectionChip isConnected={connected} />
        ) : (
          <Chip tone="bad">{state === 'locked' ? 'Locked' : 'Revoked'}</Chip>
        ),
    },
    { head: 'Tag', cell: ({ tag }) => tag },
    { head: 'Last heard of', cell: ({ lastSeenAt }) => <Time at={lastSeenAt} /> },
    {
      head: 'Certificate ends',
      cell: ({ certificateNotAfter, certificateSha256 }) => (
        <span title={`SHA-256 ${certificateSha256}`}>
          <Time at={certificateNotAfter} />
        </span>
      ),
    },
    {
      head: '',
      cell: (agent) =>
        onRevoke === undefined || agent.state === 'revoked' ? null : (
          <button type="button" className="button small danger" onClick={() => onRevoke(agent)}>
            Revoke<span className="visually-hidden"> {agent.fqdn}</span>
          </button>
        ),
    },
  ];
}

const ENTRY_COLUMNS: readonly Column<AuthorizationEntryView>[] = [
  { head: 'Primary server', cell: ({ allowedPrimaryServer }) => <span className="name">{allowedPrimaryServer}</span> },
  { head: 'Tag', cell: ({ tag }) => tag },
  {
    head: 'Wildcard',
    cell: ({ allowedPrimaryServer, depth }) => (allowedPrimaryServer.startsWith('*') ? (depth === 'one' ? 'one label' : 'any depth') : ''),
  },
  { head: 'State', cell: ({ enabled }) => <Chip tone={enabled ? 'good' : 'none'}>{enabled ? 'Enabled' : 'Disabled'}</Chip> },
  { head: 'Made', cell: ({ createdAt }) => <Time at={createdAt} /> },
];

const TOKEN_COLUMNS: readonly Column<EnrolmentTokenView>[] = [
  { head: 'For', cell: ({ fqdnPattern }) => <span className="name">{fqdnPattern}</span> },
  { head: 'Tag', cell: ({ tag }) => tag ?? '' },
  { head: 'Made', cell: ({ createdAt }) => <Time at={createdAt} /> },
  {
    head: 'Use',
    cell: ({ usedAt, expiresAt }) =>
      usedAt === null ? (
        <span>
          {Date.parse(expiresAt) > Date.now() ? 'ends' : 'ended'} <Time at={expiresAt} />
        </span>
      ) : (
        <span>
          used <Time at={usedAt} />
        </span>
      ),
  },
];
