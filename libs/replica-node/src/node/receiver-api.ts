import { SCREENSHOT_BYTES_MAX, type Command, type CommandResult, type PointMap, type Report } from '#libs/contracts/commands';
import { readingAnswer, replacementsAnswer, type ReplacementsAnswer, type ReplacementsRequest } from '#libs/contracts/wire';
import { CodedError } from '#libs/kernel';
import { takeAnswer, type CommandSource, type EnrolledHost, type PeerApi } from '#libs/peer';

/** What a command told this node to read. */
export interface Reading {
  readonly tenantId: string;
  /** Of the failover or the export. */
  readonly id: string;
}

/** The port to a receiver, as a replica node uses it. Every call may be repeated; errors of kind `unavailable` are worth it. */
export abstract class ReceiverApi implements CommandSource {
  /** The commands behind `after`, as soon as there are any; none after `waitMs`. */
  abstract commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]>;
  abstract result(commandId: string, result: CommandResult, signal: AbortSignal): Promise<void>;
  abstract report(report: Report, signal: AbortSignal): Promise<void>;
  /** How the point of a failover or an export is opened now; renews its lease. `view.not-leased`. */
  abstract reading(reading: Reading, signal?: AbortSignal): Promise<PointMap>;
  /** A page of what compaction dissolved in some layers of its path. `view.not-leased`. */
  abstract replacements(reading: Reading, request: ReplacementsRequest, signal?: AbortSignal): Promise<ReplacementsAnswer>;
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

  async reading({ tenantId, id }: Reading, signal?: AbortSignal): Promise<PointMap> {
    const path = `/replication/v1/readings/${id}`;
    return takeAnswer(readingAnswer, await this.host.client.send({ method: 'POST', path, json: { tenantId }, signal })).map;
  }

  async replacements({ tenantId, id }: Reading, request: ReplacementsRequest, signal?: AbortSignal): Promise<ReplacementsAnswer> {
    const path = `/replication/v1/readings/${id}/replacements`;
    return takeAnswer(replacementsAnswer, await this.host.client.send({ method: 'POST', path, json: { tenantId, ...request }, signal }));
  }

  async putScreenshot(failoverId: string, png: Uint8Array, signal: AbortSignal): Promise<void> {
    if (png.byteLength > SCREENSHOT_BYTES_MAX) throw new CodedError('screenshot.too-large', 'invalid', 'a screenshot has at most 4 MiB');
    const path = `/reports/v1/failovers/${failoverId}/screenshot`;
    await this.host.client.send({ method: 'PUT', path, bytes: png, contentType: 'image/png', signal });
  }
}
