import { type ReactNode, useState } from 'react';
import { Link, useParams } from 'react-router';
import { isFailoverEnded } from '#libs/client';
import type { FailoverView } from '#libs/contracts/http';
import { formatDuration } from '#libs/kernel';
import { client } from '../api.js';
import { formatExact, formatSpan } from '../format.js';
import { useSession } from '../session/session.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card, Tiles } from '../ui/card.js';
import { FailoverChip } from '../ui/chip.js';
import { Copyable } from '../ui/copyable.js';
import { Page } from '../ui/page.js';
import { Time, useNow } from '../ui/time.js';
import { ConsoleText } from './console-text.js';
import { FailoverSteps } from './failover-steps.js';
import { useFailover, useVms } from './queries.js';
import { SettleDialog } from './settle-dialog.js';

/** A new picture of the VM console so often, while the VM runs. */
const SCREENSHOT_INTERVAL_MS = 5_000;

export function FailoverPage(): ReactNode {
  const { id = '' } = useParams();
  const query = useFailover(id);
  const failover = query.data;
  return (
    <Page
      title={failover === undefined ? 'Failover' : `${failover.type === 'Test' ? 'Test failover' : 'Failover'} of ${failover.vmName}`}
      back={['/failovers', 'Failovers']}
      {...(failover === undefined
        ? {}
        : {
            beside: <FailoverChip state={failover.state} />,
            about: <About failover={failover} />,
            actions: <Actions failover={failover} />,
          })}
    >
      <Answer query={query} lines={7}>
        {(view) => <Details failover={view} />}
      </Answer>
    </Page>
  );
}

function About({ failover }: { readonly failover: FailoverView }): ReactNode {
  const relationship = useVms().data?.find(({ relationship: each }) => each?.id === failover.relationshipId);
  return (
    <>
      From the recovery point of {formatExact(failover.recoveryPointInstant)} · started <Time at={failover.requestedAt} />
      {relationship === undefined ? null : (
        <>
          {' · '}
          <Link to={`/vms/${relationship.vm.id}`}>To the VM</Link>
        </>
      )}
    </>
  );
}

function Actions({ failover }: { readonly failover: FailoverView }): ReactNode {
  const { may } = useSession();
  const [asking, setAsking] = useState<'complete' | 'cancel' | null>(null);
  if (!may('failover:write')) return null;
  const isTest = failover.type === 'Test';
  const mayCancel = ['Queued', 'InProgress', 'Running'].includes(failover.state);
  return (
    <>
      {mayCancel ? (
        <button type="button" className={`button ${isTest ? 'primary' : 'danger'}`} onClick={() => setAsking('cancel')}>
          {isTest ? 'End the test' : 'Cancel the failover'}
        </button>
      ) : null}
      {failover.state === 'Running' && !isTest ? (
        <button type="button" className="button primary" onClick={() => setAsking('complete')}>
          Complete the failover
        </button>
      ) : null}
      {asking === null ? null : <SettleDialog failover={failover} kind={asking} onClose={() => setAsking(null)} />}
    </>
  );
}

function Details({ failover }: { readonly failover: FailoverView }): ReactNode {
  const { rtoSeconds, recoveryPointInstant, requestedAt, bootMs, bootVerified, replicaNodeName, console: text } = failover;
  const lostSeconds = (Date.parse(requestedAt) - Date.parse(recoveryPointInstant)) / 1_000;
  return (
    <>
      <Outcome failover={failover} />
      <KeysWanted failover={failover} />
      <Tiles
        facts={[
          {
            name: 'Recovery time (RTO)',
            value: rtoSeconds === null ? <Elapsed failover={failover} /> : formatSpan(rtoSeconds),
            ...(rtoSeconds === null ? {} : { of: bootVerified ? 'until the guest answered' : 'unverified' }),
            tone: rtoSeconds === null || !bootVerified ? undefined : 'good',
          },
          { name: 'Recovery point (RPO)', value: formatSpan(lostSeconds), of: 'before the start' },
          { name: 'Guest boot', value: bootMs === null ? '–' : formatDuration(bootMs) },
        ]}
      />
      <div className="columns narrow-first">
        <Card title="Steps">
          <FailoverSteps failover={failover} />
          <p className="soft small" style={{ marginTop: '1.1rem' }}>
            {replicaNodeName === null ? 'No replica node chosen yet.' : `On replica node ${replicaNodeName}.`}
          </p>
        </Card>
        <div className="stack">
          {failover.hasScreenshot ? (
            <Card title="VM console, picture" isFlush>
              <Screenshot failover={failover} />
            </Card>
          ) : null}
          <Card title="VM console, text" isFlush>
            {text === '' ? (
              <Empty title="Nothing yet">What the guest writes to its serial console appears here.</Empty>
            ) : (
              <ConsoleText text={text} />
            )}
          </Card>
        </div>
      </div>
    </>
  );
}

/** A tenant that holds its own key lets go of it where the key is: on the command line. */
function KeysWanted({ failover }: { readonly failover: FailoverView }): ReactNode {
  if (failover.waitingFor !== 'tenant-keys') return null;
  return (
    <Card title="Waiting for your keys">
      <p>
        You hold the key that opens this recovery point. The failover goes on when you release it, from a machine that has your key file:
      </p>
      <Copyable text={`holdfast keys release ${failover.id} --key FILE`} label="Command that releases the keys" />
    </Card>
  );
}

function Elapsed({ failover }: { readonly failover: FailoverView }): ReactNode {
  const now = useNow();
  if (isFailoverEnded(failover) || failover.state === 'Cancelling') return '–';
  return formatSpan((now - Date.parse(failover.requestedAt)) / 1_000);
}

function Outcome({ failover }: { readonly failover: FailoverView }): ReactNode {
  if (failover.failureMessage !== null) {
    return (
      <div className="notice bad" role="alert">
        <div>
          <p>
            {failover.state === 'Failed' ? 'The failover failed and was taken back: ' : 'Something went wrong: '}
            {failover.failureMessage}. Mend the cause, then start it again.
          </p>
          <p className="small">
            <code>{failover.failureCode}</code>
          </p>
        </div>
      </div>
    );
  }
  if (failover.state !== 'Running') return null;
  if (!failover.bootVerified) {
    return (
      <div className="notice warn" role="status">
        <div>
          <p>
            The VM came up, unverified: its machine runs, but its serial console does not show that the guest is up. Look at its picture and
            its text, then complete the failover, or cancel it to go back.
          </p>
          {failover.bootDoubt === null ? null : (
            <p className="small">
              <code>{failover.bootDoubt}</code>
            </p>
          )}
        </div>
      </div>
    );
  }
  return (
    <div className="notice good" role="status">
      <p>
        {failover.type === 'Test'
          ? 'The VM came up from its replica. End the test when you have seen enough.'
          : 'The VM is up on the replica cluster. Look at it, then complete the failover, or cancel it to go back.'}
      </p>
    </div>
  );
}

function Screenshot({ failover }: { readonly failover: FailoverView }): ReactNode {
  const now = useNow();
  const isLive = failover.state === 'InProgress' || failover.state === 'Running';
  const version = isLive ? Math.floor(now / SCREENSHOT_INTERVAL_MS) : failover.state;
  return (
    <img className="screenshot" src={`${client.failovers.screenshotUrl(failover.id)}?v=${version}`} alt={`Screen of ${failover.vmName}`} />
  );
}
