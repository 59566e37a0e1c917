import { useMutation } from '@tanstack/react-query';
import { type FormEvent, type ReactNode, useEffect, useState } from 'react';
import type { MeView } from '#libs/contracts/http';
import { client } from '../api.js';
import { ErrorNotice } from '../ui/answer.js';
import { Field, Segmented } from '../ui/field.js';
import { Brand } from '../ui/icon.js';

const LAST_TENANT = 'holdfast.tenant';

export function SignInPage({ onSignedIn }: { readonly onSignedIn: (me: MeView) => void }): ReactNode {
  const [side, setSide] = useState<'tenant' | 'provider'>('tenant');
  const [tenant, setTenant] = useState(() => localStorage.getItem(LAST_TENANT) ?? '');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const signIn = useMutation({
    mutationFn: () =>
      side === 'tenant'
        ? client.auth.logIn({ tenant: tenant.trim(), email: email.trim(), password })
        : client.auth.operatorLogIn({ email: email.trim(), password }),
    onSuccess: (me) => {
      if (side === 'tenant') localStorage.setItem(LAST_TENANT, tenant.trim());
      onSignedIn(me);
    },
  });
  useEffect(() => {
    document.title = 'Sign in · Holdfast';
  }, []);
  const send = (event: FormEvent): void => {
    event.preventDefault();
    signIn.mutate();
  };
  return (
    <main className="sign-in">
      <div className="sign-in-box">
        <h1 className="brand">
          <Brand />
        </h1>
        <form className="card card-body stack" onSubmit={send}>
          <Segmented
            label="Sign in as"
            value={side}
            options={[
              ['tenant', 'Customer'],
              ['provider', 'Provider'],
            ]}
            onChange={(value) => {
              setSide(value);
              signIn.reset();
            }}
          />
          {side === 'tenant' ? (
            <Field
              label="Organisation"
              placeholder="short name, e.g. contoso"
              value={tenant}
              onChange={setTenant}
              autoComplete="organization"
              autoCapitalize="none"
              required
            />
          ) : null}
          <Field label="E-mail" type="email" value={email} onChange={setEmail} autoComplete="username" required />
          <Field label="Password" type="password" value={password} onChange={setPassword} autoComplete="current-password" required />
          {signIn.error === null ? null : <ErrorNotice error={signIn.error} />}
          <button type="submit" className="button primary" disabled={signIn.isPending}>
            {signIn.isPending ? 'One moment …' : 'Sign in'}
          </button>
        </form>
        <p className="soft small" style={{ textAlign: 'center' }}>
          Disaster recovery for virtual machines
        </p>
      </div>
    </main>
  );
}
