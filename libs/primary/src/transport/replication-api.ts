import {
  commitAnswer,
  cycleAnswer,
  cycleStatus,
  keyAnswer,
  offerAnswer,
  pointsAnswer,
  relationshipsAnswer,
  replacementsAnswer,
  segmentAnswer,
  viewAnswer,
  wantedRecordsAnswer,
  wireRelationship,
  type CommitAnswer,
  type CycleAnswer,
  type CycleMeasures,
  type CycleStatus,
  type InventoryReport,
  type OpenCycleRequest,
  type RelationshipsAnswer,
  type RepairRefusal,
  type ReplacementsAnswer,
  type ReplacementsRequest,
  type ViewAnswer,
  type WantedRecordsAnswer,
  type WirePoint,
  type WireRelationship,
} from '#libs/contracts/wire';
import { retry, SECOND_MS, type Clock } from '#libs/kernel';
import { REQUEST_RETRIES, takeAnswer, type ReceiverClient, type RequestRetries } from '#libs/peer';
import { Semaphore } from '../semaphore.js';
import type { TokenBucket } from './token-bucket.js';

const UPLOADS_MAX = 3;

export interface SegmentUpload {
  readonly cycleId: string;
  readonly sha256: string;
  readonly bytes: Uint8Array;
  readonly throttles: readonly TokenBucket[];
  readonly signal: AbortSignal;
  /** Called before each further attempt. */
  readonly onRetry: (error: unknown) => void;
}

export interface RecordOffer {
  readonly sha256: string;
  readonly epoch: WantedRecordsAnswer['epoch'];
  readonly bytes: Uint8Array;
  readonly throttles: readonly TokenBucket[];
  readonly signal: AbortSignal;
}

/** The replication routes of a receiver, typed. An answer that breaks its schema is `receiver.malformed-answer`. */
export class ReplicationApi {
  constructor(
    private readonly client: ReceiverClient,
    private readonly clock: Clock,
    private readonly retries: RequestRetries = REQUEST_RETRIES,
  ) {}

  /** A receiver sends away what is more than a few uploads of one agent. */
  readonly #uploads = new Semaphore(UPLOADS_MAX);

  async reportInventory(report: InventoryReport, signal?: AbortSignal): Promise<void> {
    await this.repeat(() => this.client.send({ method: 'PUT', path: '/replication/v1/inventory', json: report, signal }), signal);
  }

  /** What this agent is to do, and the tenant's keys. */
  async relationships(signal?: AbortSignal): Promise<RelationshipsAnswer> {
    const answer = await this.repeat(() => this.client.send({ method: 'GET', path: '/replication/v1/relationships', signal }), signal);
    return takeAnswer(relationshipsAnswer, answer);
  }

  async relationship(id: string, signal?: AbortSignal): Promise<WireRelationship> {
    const answer = await this.repeat(
      () => this.client.send({ method: 'GET', path: `/replication/v1/relationships/${id}`, signal }),
      signal,
    );
    return takeAnswer(wireRelationship, answer);
  }

  /** Newest first, from before a cycle on. */
  async points(id: string, before: string | null, signal?: AbortSignal): Promise<WirePoint[]> {
    const path = `/replication/v1/relationships/${id}/points${before === null ? '' : `?before=${before}`}`;
    return takeAnswer(pointsAnswer, await this.repeat(() => this.client.send({ method: 'GET', path, signal }), signal)).points;
  }

  /** Leases a view of a point, null being the newest, under an id of the caller's own, or renews it. */
  async openView(id: string, viewId: string, pointId: string | null, signal?: AbortSignal): Promise<ViewAnswer> {
    const path = `/replication/v1/relationships/${id}/views/${viewId}`;
    const answer = await this.repeat(() => this.client.send({ method: 'PUT', path, json: { pointId }, signal }), signal);
    return takeAnswer(viewAnswer, answer);
  }

  /** A page of what compaction dissolved in some layers of a leased point. `view.not-leased`. */
  async replacements(id: string, viewId: string, request: ReplacementsRequest, signal?: AbortSignal): Promise<ReplacementsAnswer> {
    const path = `/replication/v1/relationships/${id}/views/${viewId}/replacements`;
    return takeAnswer(
      replacementsAnswer,
      await this.repeat(() => this.client.send({ method: 'POST', path, json: request, signal }), signal),
    );
  }

  async releaseView(id: string, viewId: string, signal?: AbortSignal): Promise<void> {
    const path = `/replication/v1/relationships/${id}/views/${viewId}`;
    await this.repeat(() => this.client.send({ method: 'DELETE', path, signal }), signal);
  }

  /** Never repeated by itself: each opening is an attempt of its own. One that went unanswered is voided by the next. */
  async openCycle(relationshipId: string, request: OpenCycleRequest, signal: AbortSignal): Promise<CycleAnswer> {
    const path = `/replication/v1/relationships/${relationshipId}/cycles`;
    return takeAnswer(cycleAnswer, await this.client.send({ method: 'POST', path, json: request, signal }));
  }

  async cycle(id: string, signal: AbortSignal): Promise<CycleStatus> {
    return takeAnswer(
      cycleStatus,
      await this.repeat(() => this.client.send({ method: 'GET', path: `/replication/v1/cycles/${id}`, signal }), signal),
    );
  }

  async renewLease(id: string, signal: AbortSignal): Promise<void> {
    await this.client.send({ method: 'PUT', path: `/replication/v1/cycles/${id}`, json: {}, signal });
  }

  async putSegment(upload: SegmentUpload): Promise<void> {
    const { cycleId, sha256, bytes, throttles, signal } = upload;
    const path = `/replication/v1/cycles/${cycleId}/segments/${sha256}`;
    const answer = await retry(
      { ...this.retries, onRetry: upload.onRetry },
      this.clock,
      () =>
        this.#uploads.run(
          () => this.client.send({ method: 'PUT', path, bytes, throttles, signal, answerTimeoutMs: 60 * SECOND_MS }),
          signal,
        ),
      signal,
    );
    takeAnswer(segmentAnswer, answer);
  }

  async putList(cycleId: string, sha256: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.repeat(
      () => this.client.send({ method: 'PUT', path: `/replication/v1/cycles/${cycleId}/lists/${sha256}`, bytes, signal }),
      signal,
    );
  }

  /** Safe to repeat with the same bytes: the answer to a commit that is done already is the same. */
  async commit(cycleId: string, manifest: Uint8Array, signal: AbortSignal): Promise<CommitAnswer> {
    const path = `/replication/v1/cycles/${cycleId}/commit`;
    return takeAnswer(
      commitAnswer,
      await this.client.send({ method: 'POST', path, bytes: manifest, signal, answerTimeoutMs: 60 * SECOND_MS }),
    );
  }

  /** Records that are damaged in the store, and that this agent may still have. */
  async wantedRecords(relationshipId: string, signal: AbortSignal): Promise<WantedRecordsAnswer> {
    const path = `/replication/v1/relationships/${relationshipId}/wanted-records`;
    return takeAnswer(wantedRecordsAnswer, await this.repeat(() => this.client.send({ method: 'GET', path, signal }), signal));
  }

  async putOffer(relationshipId: string, repairId: string, { sha256, epoch, bytes, throttles, signal }: RecordOffer): Promise<void> {
    const { incarnation, counter } = epoch;
    const path = `/replication/v1/relationships/${relationshipId}/repairs/${repairId}/offers/${sha256}?incarnation=${incarnation}&counter=${counter}`;
    const send = () => this.client.send({ method: 'PUT', path, bytes, throttles, signal, answerTimeoutMs: 60 * SECOND_MS });
    takeAnswer(offerAnswer, await this.repeat(() => this.#uploads.run(send, signal), signal));
  }

  async refuseRepair(relationshipId: string, repairId: string, refusal: RepairRefusal, signal: AbortSignal): Promise<void> {
    const path = `/replication/v1/relationships/${relationshipId}/repairs/${repairId}/refusal`;
    await this.client.send({ method: 'POST', path, json: refusal, signal });
  }

  async reportFailure(cycleId: string, failure: { code: string; message: string }, signal?: AbortSignal): Promise<void> {
    const json = { code: failure.code.slice(0, 100), message: failure.message.slice(0, 500) };
    await this.client.send({ method: 'POST', path: `/replication/v1/cycles/${cycleId}/failure`, json, signal });
  }

  async putMeasures(cycleId: string, measures: CycleMeasures, signal?: AbortSignal): Promise<void> {
    await this.repeat(
      () => this.client.send({ method: 'PUT', path: `/replication/v1/cycles/${cycleId}/measures`, json: measures, signal }),
      signal,
    );
  }

  async putKey(relationshipId: string, kind: string, generation: number, wrapped: Uint8Array, signal?: AbortSignal): Promise<void> {
    const path = `/replication/v1/relationships/${relationshipId}/keys/${kind}/${generation}`;
    takeAnswer(keyAnswer, await this.repeat(() => this.client.send({ method: 'PUT', path, bytes: wrapped, signal }), signal));
  }

  private repeat<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return retry(this.retries, this.clock, work, signal);
  }
}
