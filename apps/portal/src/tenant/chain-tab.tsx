import type { ReactNode } from 'react';
import type { ChainStatView, RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { Answer } from '../ui/answer.js';
import { Tiles } from '../ui/card.js';
import { Time } from '../ui/time.js';
import { ChainChecks } from './chain-checks.js';
import { Publications } from './publications.js';
import { useChainStat } from './queries.js';

/** What the provider's store holds of a VM: what it costs, whether it is whole, and what of it lies there in the clear. */
export function ChainTab({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const stat = useChainStat(relationship.id);
  return (
    <div className="card-body stack">
      <Answer query={stat}>{(view) => <Cost stat={view} />}</Answer>
      <ChainChecks relationship={relationship} />
      <Publications relationship={relationship} />
    </div>
  );
}

function Cost({ stat }: { readonly stat: ChainStatView }): ReactNode {
  const { storedBytes, liveBytes, deadBytes, uncountedCount, segmentCount, doomedBytes, dedupRatio, collectedAt } = stat;
  return (
    <Tiles
      facts={[
        { name: 'Stored', value: formatBytes(storedBytes), of: `${segmentCount} ${segmentCount === 1 ? 'segment' : 'segments'}` },
        {
          name: 'Shown by recovery points',
          value: uncountedCount > 0 ? '–' : formatBytes(liveBytes),
          of: uncountedCount > 0 ? 'being counted' : `${formatBytes(deadBytes)} is not any more`,
        },
        { name: 'All points kept whole', value: dedupRatio === null ? '–' : `${dedupRatio.toFixed(1)} ×`, of: 'what is stored' },
        {
          name: 'To be deleted',
          value: formatBytes(doomedBytes),
          of:
            collectedAt === null ? (
              'never looked for yet'
            ) : (
              <>
                looked for <Time at={collectedAt} />
              </>
            ),
        },
      ]}
    />
  );
}
