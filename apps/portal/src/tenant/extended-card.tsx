import type { ReactNode } from 'react';
import type { ExtendedReplicationView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { formatFrequency, formatSpan, formatWords } from '../format.js';
import { Card, Tiles } from '../ui/card.js';
import { HealthChip } from '../ui/chip.js';
import { Time } from '../ui/time.js';

/** How far the VM's recovery points have been carried on to the third site. */
export function ExtendedCard({ extended }: { readonly extended: ExtendedReplicationView }): ReactNode {
  const { site, health, healthDetails, state, frequencySeconds, lastPointAgeSeconds, lastPointInstant, pendingBytes } = extended;
  return (
    <Card title={`Extended replication to ${site}`} actions={<HealthChip health={health} />}>
      {healthDetails.map(({ code, message }) => (
        <div key={code} className={`notice ${health === 'Critical' ? 'bad' : 'warn'}`} role="status">
          <p>{message}</p>
          <code className="small">{code}</code>
        </div>
      ))}
      <Tiles
        facts={[
          { name: 'State there', value: formatWords(state), of: formatFrequency(frequencySeconds) },
          { name: 'Last point there', value: <Time at={lastPointInstant} /> },
          { name: 'Committed', value: lastPointAgeSeconds === null ? '–' : `${formatSpan(lastPointAgeSeconds)} ago` },
          { name: 'Pending', value: formatBytes(pendingBytes) },
        ]}
      />
    </Card>
  );
}
