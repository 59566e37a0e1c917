/** Says whether this process can do its work now. List a class among the providers and `/health/ready` asks it. */
export abstract class ReadinessCheck {
  abstract readonly name: string;
  /** Throws when not. One that does not answer in time has failed as well. */
  abstract check(): Promise<void>;
}
