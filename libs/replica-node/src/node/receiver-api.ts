import type { Command, CommandResult, Report } from '#libs/contracts/commands';

/** The port to a receiver, as a replica node uses it. Every call may be repeated; errors of kind `unavailable` are worth it. */
export abstract class ReceiverApi {
  /** The commands behind `after`, as soon as there are any; none after `waitMs`. */
  abstract commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]>;
  abstract result(commandId: string, result: CommandResult, signal: AbortSignal): Promise<void>;
  abstract report(report: Report, signal: AbortSignal): Promise<void>;
  abstract putScreenshot(failoverId: string, png: Uint8Array, signal: AbortSignal): Promise<void>;
}
