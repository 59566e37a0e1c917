import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { AgentView } from '#libs/contracts/http';
import { client } from '../api.js';
import { FormDialog } from '../ui/dialog.js';
import { EnrolmentCommand } from '../ui/enrolment-command.js';
import { Field, Select } from '../ui/field.js';

interface Closable {
  readonly onClose: () => void;
}

export function EnrolDialog({ onClose }: Closable): ReactNode {
  const queries = useQueryClient();
  const entries = useQuery({ queryKey: ['entries'], queryFn: ({ signal }) => client.authorizationEntries.list({ signal }) });
  const first = entries.data?.items[0];
  const [pattern, setPattern] = useState<string | null>(null);
  const [tag, setTag] = useState<string | null>(null);
  const fqdnPattern = pattern ?? first?.allowedPrimaryServer ?? '';
  const tagText = tag ?? first?.tag ?? '';
  const create = useMutation({
    mutationFn: () => client.agents.createEnrolmentToken({ fqdnPattern, tag: tagText }),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['tokens'] }),
  });
  if (create.data !== undefined) return <EnrolmentCommand created={create.data} program="agent" onClose={onClose} />;
  return (
    <FormDialog title="Enrol an agent" submit="Make a token" doing={create} onSubmit={() => create.mutate()} onClose={onClose}>
      <p className="soft">A token lets one host in, once, within the hour. The agent then makes its own key and gets its certificate.</p>
      <Field
        label="Host"
        value={fqdnPattern}
        onChange={setPattern}
        hint="Its full name, or *. and a domain."
        autoCapitalize="none"
        required
      />
      <Field
        label="Authorization tag"
        value={tagText}
        onChange={setTag}
        hint="As in the authorization entry that lets it replicate."
        required
      />
    </FormDialog>
  );
}

export function AuthorizationEntryDialog({ onClose }: Closable): ReactNode {
  const queries = useQueryClient();
  const [server, setServer] = useState('');
  const [tag, setTag] = useState('');
  const [depth, setDepth] = useState('any');
  const create = useMutation({
    mutationFn: () => client.authorizationEntries.create({ allowedPrimaryServer: server, tag, depth: depth as 'one' | 'any' }),
    onSuccess: () => {
      onClose();
      return queries.invalidateQueries({ queryKey: ['entries'] });
    },
  });
  return (
    <FormDialog title="Add an authorization entry" submit="Add" doing={create} onSubmit={() => create.mutate()} onClose={onClose}>
      <Field
        label="Allowed primary server"
        value={server}
        onChange={setServer}
        hint="host.example.com, or *.example.com for all below it."
        autoCapitalize="none"
        required
      />
      <Field
        label="Authorization tag"
        value={tag}
        onChange={setTag}
        hint="Only agents with this tag may update the replicas made under it."
        required
      />
      {server.startsWith('*') ? (
        <Select
          label="The * stands for"
          value={depth}
          options={[
            ['any', 'any number of labels'],
            ['one', 'one label'],
          ]}
          onChange={setDepth}
        />
      ) : null}
    </FormDialog>
  );
}

export function RevokeDialog({ agent, onClose }: Closable & { readonly agent: AgentView }): ReactNode {
  const queries = useQueryClient();
  const [reason, setReason] = useState('');
  const revoke = useMutation({
    mutationFn: () => client.agents.revoke(agent.id, reason),
    onSuccess: () => {
      onClose();
      return queries.invalidateQueries({ queryKey: ['agents'] });
    },
  });
  return (
    <FormDialog
      title={`Revoke ${agent.fqdn}`}
      submit="Revoke"
      isDangerous
      doing={revoke}
      onSubmit={() => revoke.mutate()}
      onClose={onClose}
    >
      <ul className="will">
        <li>Its certificate is refused at once, also on connections that are open.</li>
        <li>Its VMs are no longer replicated. Their recovery points stay.</li>
        <li>The host must be enrolled anew to come back.</li>
      </ul>
      <Field label="Reason, for the audit log" value={reason} onChange={setReason} required />
    </FormDialog>
  );
}
