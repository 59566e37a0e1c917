import type { ReactNode } from 'react';
import { Link, NavLink, Outlet } from 'react-router';
import { useSession } from './session/session.js';
import { ThemeSwitch } from './session/theme-switch.js';
import { Brand, Icon, type IconName } from './ui/icon.js';

interface Entry {
  readonly to: string;
  readonly label: string;
  readonly icon: IconName;
  readonly permission: string;
}

const TENANT: readonly Entry[] = [
  { to: '/', label: 'Overview', icon: 'overview', permission: 'replication:read' },
  { to: '/failovers', label: 'Failovers', icon: 'failovers', permission: 'failover:read' },
  { to: '/agents', label: 'Agents', icon: 'agents', permission: 'agents:read' },
  { to: '/audit', label: 'Audit log', icon: 'audit', permission: 'audit:read' },
];

const OPERATOR: readonly Entry[] = [
  { to: '/', label: 'Overview', icon: 'overview', permission: 'provider:read' },
  { to: '/tenants', label: 'Tenants', icon: 'tenants', permission: 'provider:read' },
  { to: '/replica-nodes', label: 'Replica nodes', icon: 'nodes', permission: 'provider:read' },
  { to: '/receivers', label: 'Receivers', icon: 'receivers', permission: 'provider:read' },
  { to: '/jobs', label: 'Jobs', icon: 'jobs', permission: 'provider:read' },
  { to: '/audit', label: 'Audit log', icon: 'audit', permission: 'provider-audit:read' },
];

/** Both faces: what there is to go to depends on who is signed in. */
export function Shell(): ReactNode {
  const { me, may, logOut } = useSession();
  const entries = (me.kind === 'operator' ? OPERATOR : TENANT).filter(({ permission }) => may(permission));
  return (
    <div className="shell">
      <a href="#content" className="skip">
        To the content
      </a>
      <aside className="sidebar">
        <Link to="/" className="brand">
          <Brand />
        </Link>
        <nav className="nav" aria-label="Main">
          {entries.map(({ to, label, icon }) => (
            <NavLink key={to} to={to} end={to === '/'}>
              <Icon name={icon} />
              {label}
            </NavLink>
          ))}
        </nav>
        <div className="account">
          <p>
            <strong>{me.tenant?.name ?? 'Provider'}</strong>
            <br />
            <span className="soft small" title={`${me.email}, ${me.role}`}>
              {me.name} · {me.role}
            </span>
          </p>
          <div className="account-actions">
            <button type="button" className="button small" onClick={logOut}>
              Sign out
            </button>
            <ThemeSwitch />
          </div>
        </div>
      </aside>
      <main id="content" tabIndex={-1}>
        <Outlet />
      </main>
    </div>
  );
}
