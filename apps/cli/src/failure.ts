import { type ErrorDetails, messageOf, PlatformError } from '#libs/kernel';
import { harmless } from './output/words.js';

/** What to do about it, where the message does not say so itself. */
const REMEDIES = new Map(
  Object.entries({
    'api.unreachable': 'Is the address right (`holdfast profiles list`), and is the platform up?',
    'api.unexpected-answer': 'This command line and the platform are of different versions; use the one that came with the platform.',
    'login.refused': 'Check tenant, e-mail and password; people of the provider sign in without --tenant.',
    'login.throttled': 'Wait a few minutes; further attempts only make it longer.',
    'relationship.not-found': 'See `holdfast replication list`.',
    'relationship.exists': 'It is protected already: see `holdfast replication show`.',
    'vm.not-found': 'See `holdfast vms list`; an agent reports its VMs within a minute.',
    'vm.not-here': 'The agent has not reported this VM lately; see `holdfast agents list`.',
    'failover.not-found': 'See `holdfast failover list`.',
    'failover.in-progress': 'See `holdfast failover list`; complete or cancel it first.',
    'failover.exists': 'See `holdfast failover list`; complete or cancel it first.',
    'recovery-point.not-found': 'See `holdfast points <vm>`.',
    'screenshot.not-found': 'It is taken a little after the VM has booted: try again in a moment.',
    'enrolment-token.malformed': 'Make a new one: `holdfast enrolment-token create`.',
  }),
);

function remedyOf({ code, kind, details }: PlatformError): string | undefined {
  const known = REMEDIES.get(code);
  if (known !== undefined) return known;
  // Signing in helps with what the api refuses, not with what this machine does.
  if (details['requestId'] === undefined) return undefined;
  if (kind === 'unauthenticated') return 'Sign in with `holdfast login`.';
  return kind === 'forbidden' ? '`holdfast whoami` shows what you may do; an admin can give you another role.' : undefined;
}

/** The sentence for people, with the stable code, and what to do about it. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof PlatformError)) return `holdfast: ${harmless(messageOf(error))}`;
  const lines = [`holdfast: ${harmless(error.message)} (${harmless(error.code)})`, ...faultsOf(error.details)];
  const remedy = remedyOf(error);
  if (remedy !== undefined) lines.push(`  ${remedy}`);
  if (error.kind === 'corrupt' && typeof error.details['requestId'] === 'string')
    lines.push(`  The provider finds it in the logs as request ${harmless(error.details['requestId'])}.`);
  return lines.join('\n');
}

/** The same for programs: one JSON object. */
export function failureJson(error: unknown): string {
  const known =
    error instanceof PlatformError
      ? { code: error.code, kind: error.kind, message: error.message, details: error.details }
      : { code: 'unexpected', kind: null, message: messageOf(error), details: {} };
  return JSON.stringify({ error: known });
}

/** What the api found wrong with a request, field by field. */
function faultsOf({ issues }: ErrorDetails): string[] {
  if (!Array.isArray(issues)) return [];
  return issues.map((issue: { path?: unknown; message?: unknown }) => `  ${harmless(`${String(issue.path)}: ${String(issue.message)}`)}`);
}
