/**
 * What a process must have found out since its start before it decides anything for others. Open unless a feature closes it while the process is put
 * together, before anybody is listened to. Transactions carry it: what asks, asks in the one that decides.
 */
export class StartGate {
  #reason: (() => Error) | null = null;

  /** Until it is opened, whoever asks is told the reason. */
  close(reason: () => Error): void {
    this.#reason = reason;
  }

  open(): void {
    this.#reason = null;
  }

  get isOpen(): boolean {
    return this.#reason === null;
  }

  require(): void {
    if (this.#reason !== null) throw this.#reason();
  }
}
