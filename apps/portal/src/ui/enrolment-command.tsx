import type { ReactNode } from 'react';
import type { CreatedEnrolmentToken } from '#libs/client';
import { Copyable } from './copyable.js';
import { Dialog } from './dialog.js';
import { Time } from './time.js';

interface EnrolmentCommandProps {
  readonly created: CreatedEnrolmentToken;
  readonly program: 'agent' | 'replica-node';
  readonly onClose: () => void;
}

/** The token, this once, and what to type where. The token goes in by standard input: others can see a program's arguments. */
export function EnrolmentCommand({ created, program, onClose }: EnrolmentCommandProps): ReactNode {
  const { token, fqdnPattern, expiresAt } = created;
  const dataDir = `/var/lib/holdfast-${program}`;
  const command = `holdfast ${program === 'agent' ? 'agent' : 'node'}`;
  const fqdn = fqdnPattern.startsWith('*') ? '' : ` --fqdn ${fqdnPattern}`;
  return (
    <Dialog title="The token, shown this once" onClose={onClose}>
      <p className="soft">
        It enrols one host that is called <strong>{fqdnPattern}</strong>, and ends <Time at={expiresAt} />.
      </p>
      <Copyable label="Enrolment token" text={token} />
      <p>On that host run:</p>
      <Copyable
        label="Command"
        text={`echo '${token}' | ${command} enrol --data ${dataDir}${fqdn} --token-file -\n${command} run --data ${dataDir}`}
      />
      <div className="dialog-foot">
        <button type="button" className="button primary" onClick={onClose}>
          I have it
        </button>
      </div>
    </Dialog>
  );
}
