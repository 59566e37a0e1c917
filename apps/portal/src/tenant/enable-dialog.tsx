import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { PolicyWish } from '#libs/client';
import type { VmView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { client } from '../api.js';
import { FormDialog } from '../ui/dialog.js';
import { Select } from '../ui/field.js';

export type Frequency = NonNullable<PolicyWish['frequencySeconds']>;

export const FREQUENCIES = [
  ['30', 'Every 30 seconds'],
  ['300', 'Every 5 minutes'],
  ['900', 'Every 15 minutes'],
] as const;

/** Enable-VMReplication. */
export function EnableDialog({ vm, onClose }: { readonly vm: VmView; readonly onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const [frequency, setFrequency] = useState('300');
  const enable = useMutation({
    mutationFn: () => client.relationships.enable({ vmId: vm.id, policy: { frequencySeconds: Number(frequency) as Frequency } }),
    onSuccess: () => {
      onClose();
      return queries.invalidateQueries();
    },
  });
  const totalBytes = vm.definition.disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return (
    <FormDialog title={`Protect ${vm.name}`} submit="Enable replication" doing={enable} onSubmit={() => enable.mutate()} onClose={onClose}>
      <ul className="will">
        <li>
          Initial replication copies what its disks hold (at most {formatBytes(totalBytes)}), compressed and encrypted, while the VM runs.
        </li>
        <li>From then on only changes travel. Each cycle makes a recovery point.</li>
      </ul>
      <Select
        label="Replication frequency"
        hint="This is also the target for the RPO: how much work a disaster may cost."
        value={frequency}
        options={FREQUENCIES}
        onChange={setFrequency}
      />
    </FormDialog>
  );
}
