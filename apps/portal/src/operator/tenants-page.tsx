import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { TenantView } from '#libs/contracts/http';
import { client } from '../api.js';
import { useSession } from '../session/session.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip } from '../ui/chip.js';
import { FormDialog } from '../ui/dialog.js';
import { Field } from '../ui/field.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { useTenants } from './queries.js';

type Asking = { readonly kind: 'tenant' } | { readonly kind: 'admin'; readonly tenant: TenantView };

export function TenantsPage(): ReactNode {
  const tenants = useTenants();
  const { may } = useSession();
  const mayWrite = may('tenants:write');
  const [asking, setAsking] = useState<Asking | null>(null);
  const columns: readonly Column<TenantView>[] = [
    {
      head: 'Tenant',
      cell: ({ name, slug }) => (
        <>
          <span className="name">{name}</span>
          <br />
          <span className="soft small">{slug}</span>
        </>
      ),
    },
    {
      head: 'State',
      cell: ({ state }) => <Chip tone={state === 'active' ? 'good' : 'bad'}>{state === 'active' ? 'Active' : 'Suspended'}</Chip>,
    },
    { head: 'Since', cell: ({ createdAt }) => <Time at={createdAt} /> },
    {
      head: '',
      cell: (tenant) =>
        mayWrite ? (
          <button type="button" className="button small" onClick={() => setAsking({ kind: 'admin', tenant })}>
            Add an admin<span className="visually-hidden"> of {tenant.name}</span>
          </button>
        ) : null,
    },
  ];
  return (
    <Page
      title="Tenants"
      about="Who replicates to this platform."
      {...(mayWrite
        ? {
            actions: (
              <button type="button" className="button primary" onClick={() => setAsking({ kind: 'tenant' })}>
                Add a tenant
              </button>
            ),
          }
        : {})}
    >
      <Answer query={tenants}>
        {({ items }) => (
          <Card isFlush>
            <Table
              label="Tenants"
              columns={columns}
              rows={items}
              keyOf={({ id }) => id}
              empty={<Empty title="No tenants yet">Add one, then its first admin: that person does the rest in the portal.</Empty>}
            />
          </Card>
        )}
      </Answer>
      {asking?.kind === 'tenant' ? <TenantDialog onClose={() => setAsking(null)} /> : null}
      {asking?.kind === 'admin' ? <AdminDialog tenant={asking.tenant} onClose={() => setAsking(null)} /> : null}
    </Page>
  );
}

function TenantDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const [slug, setSlug] = useState('');
  const [name, setName] = useState('');
  const create = useMutation({
    mutationFn: () => client.operator.createTenant({ slug, name }),
    onSuccess: () => {
      onClose();
      return queries.invalidateQueries({ queryKey: ['operator', 'tenants'] });
    },
  });
  return (
    <FormDialog title="Add a tenant" submit="Add" doing={create} onSubmit={() => create.mutate()} onClose={onClose}>
      <Field label="Name" value={name} onChange={setName} required />
      <Field
        label="Organisation for sign-in"
        value={slug}
        onChange={setSlug}
        hint="Lower-case letters, digits and dashes; it stays."
        autoCapitalize="none"
        required
      />
    </FormDialog>
  );
}

function AdminDialog({ tenant, onClose }: { readonly tenant: TenantView; readonly onClose: () => void }): ReactNode {
  const [email, setEmail] = useState('');
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const create = useMutation({
    mutationFn: () => client.operator.createUser(tenant.id, { email, name, password, role: 'admin' }),
    onSuccess: onClose,
  });
  return (
    <FormDialog title={`Add an admin of ${tenant.name}`} submit="Add" doing={create} onSubmit={() => create.mutate()} onClose={onClose}>
      <Field label="Name" value={name} onChange={setName} autoComplete="off" required />
      <Field label="E-mail" type="email" value={email} onChange={setEmail} autoComplete="off" required />
      <Field
        label="First password"
        type="password"
        value={password}
        onChange={setPassword}
        hint="At least 12 characters."
        autoComplete="new-password"
        minLength={12}
        required
      />
    </FormDialog>
  );
}
