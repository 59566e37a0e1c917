import { z } from 'zod';
import { bootProofKind, commandPayloads, exportResult, replicaPhase } from '#libs/contracts/commands';
import { epoch, instant, uuid } from '#libs/contracts/common';

/** `replicas/<failoverId>/replica.json`: what a replica is and how far it came; enough to take it over after a restart. */
export const replicaRecord = z.strictObject({
  version: z.literal(1),
  /** What was asked for. Its keys are wrapped to this node: the file alone opens nothing. */
  start: commandPayloads['replica.start'],
  commandId: uuid,
  phase: replicaPhase,
  phaseAt: instant,
  /** When QEMU was started, by the wall clock; null before. */
  bootedAt: instant.nullable(),
  bootMs: z.number().min(0).nullable(),
  /** What showed that the guest is up; null when `up`: nothing yet. */
  proof: z.strictObject({ kind: bootProofKind, detail: z.string().max(300) }).nullable(),
  /** The screenshot is at the provider. */
  isEvidenceSent: z.boolean(),
  code: z.string().max(100).nullable(),
  message: z.string().max(1000).nullable(),
});
export type ReplicaRecord = z.infer<typeof replicaRecord>;

/** `epochs.json`: the newest epoch that a command of each subject carried. */
export const seenEpochs = z.record(uuid, epoch);
export type SeenEpochs = z.infer<typeof seenEpochs>;

/** `accelerator.json`: what the boot probe found, for this boot of the host. */
export const knownAccelerator = z.strictObject({ bootId: z.string(), accelerator: z.enum(['kvm', 'tcg']) });

/** `exports/<exportId>.json`: written when the file is built and before it is stored, so that a repeated command knows its answer. */
export const exportRecord = z.strictObject({ version: z.literal(1), objectKey: z.string(), result: exportResult });
export type ExportRecord = z.infer<typeof exportRecord>;
