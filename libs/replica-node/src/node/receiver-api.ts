import { SCREENSHOT_BYTES_MAX, type Command, type CommandResult, type Report } from '#libs/contracts/commands';
import { CodedError } from '#libs/kernel';
import type { CommandSource, EnrolledHost, PeerApi } from '#libs/peer';

/** The port to a receiver, as a replica node uses it. Every call may be repeated; errors of kind `unavailable` are worth it. */
export abstract class ReceiverApi implements CommandSource {
  /** The commands behind `after`, as soon as there are any; none after `waitMs`. */
  abstract commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]>;
  abstract result(commandId: string, result: CommandResult, signal: AbortSignal): Promise<void>;
  abstract report(report: Report, signal: AbortSignal): Promise<void>;
  /** A PNG file of at most 4 MiB: `screenshot.too-large`. */
  abstract putScreenshot(failoverId: string, png: Uint8Array, signal: AbortSignal): Promise<void>;
}

/** A real receiver, over mutual TLS. */
export class RemoteReceiverApi extends ReceiverApi {
  constructor(
    private readonly api: PeerApi,
    private readonly host: EnrolledHost,
  ) {
    super();
  }

  commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]> {
    return this.api.commands(after, waitMs, signal);
  }

  result(commandId: string, result: CommandResult, signal: AbortSignal): Promise<void> {
    return this.api.result(commandId, result, signal);
  }

  async report(report: Report, signal: AbortSignal): Promise<void> {
    this.host.assertCurrent();
    await this.api.report(report, signal);
  }

  async putScreenshot(failoverId: string, png: Uint8Array, signal: AbortSignal): Promise<void> {
    if (png.byteLength > SCREENSHOT_BYTES_MAX) throw new CodedError('screenshot.too-large', 'invalid', 'a screenshot has at most 4 MiB');
    const path = `/reports/v1/failovers/${failoverId}/screenshot`;
    await this.host.client.send({ method: 'PUT', path, bytes: png, contentType: 'image/png', signal });
  }
}
