import { Body, Controller, Get, Param, Post, Put, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type AgentPeer, CurrentAgent, Uploads } from '#libs/agents';
import { MANIFEST_BYTES_MAX, SEGMENT_BYTES_MAX } from '#libs/chain';
import { sha256Hex, uuid, tenantKeyLink } from '#libs/contracts/common';
import {
  commitAnswer,
  type CommitAnswer,
  cycleAnswer,
  type CycleAnswer,
  cycleFailure,
  type CycleMeasures,
  cycleMeasures,
  cycleStatus,
  type CycleStatus,
  inventoryReport,
  type InventoryReport,
  keyAnswer,
  keyKind,
  openCycleRequest,
  type OpenCycleRequest,
  segmentAnswer,
  wireRelationship,
  type WireRelationship,
} from '#libs/contracts/wire';
import { asId, KIB, type RelationshipId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { AgentRelationships } from '../use-cases/agent-relationships.js';
import { CommitCycle } from '../use-cases/commit-cycle.js';
import { CycleProgress } from '../use-cases/cycle-progress.js';
import { CycleUploads } from '../use-cases/cycle-uploads.js';
import { UploadKey } from '../use-cases/upload-key.js';
import { OpenCycle } from '../use-cases/open-cycle.js';
import { ReportInventory } from '../use-cases/report-inventory.js';

const relationshipsAnswer = z.object({ relationships: z.array(wireRelationship), tenantKeys: z.array(tenantKeyLink) });
const generation = z.coerce.number().int().min(0).max(65_535);

const LIST_BYTES_MAX = MANIFEST_BYTES_MAX;
const KEY_BYTES_MAX = 4 * KIB;

/** At a receiver: the replication protocol, for agents. Every route stands behind the peer guard; bodies of bytes come as streams. */
@Controller('replication/v1')
export class ReceiverController {
  constructor(
    private readonly reportInventory: ReportInventory,
    private readonly relationships: AgentRelationships,
    private readonly openCycle: OpenCycle,
    private readonly uploads: CycleUploads,
    private readonly keys: UploadKey,
    private readonly progress: CycleProgress,
    private readonly commitCycle: CommitCycle,
    private readonly intake: Uploads,
  ) {}

  @Put('inventory')
  @Responds(204)
  async inventory(@CurrentAgent() peer: AgentPeer, @Body({ schema: inventoryReport }) report: InventoryReport): Promise<void> {
    await this.reportInventory.execute(peer, report);
  }

  @Get('relationships')
  @Responds(200, relationshipsAnswer)
  async list(@CurrentAgent() peer: AgentPeer): Promise<z.infer<typeof relationshipsAnswer>> {
    return this.relationships.list(peer);
  }

  @Get('relationships/:id')
  @Responds(200, wireRelationship)
  get(@CurrentAgent() peer: AgentPeer, @Param('id', { schema: uuid }) id: string): Promise<WireRelationship> {
    return this.relationships.get(peer, asId<RelationshipId>(id));
  }

  @Post('relationships/:id/cycles')
  @Responds(201, cycleAnswer)
  open(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: openCycleRequest }) request: OpenCycleRequest,
  ): Promise<CycleAnswer> {
    return this.openCycle.execute(peer, asId<RelationshipId>(id), request);
  }

  @Put('relationships/:id/keys/:kind/:generation')
  @Responds(200, keyAnswer)
  async putKey(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('kind', { schema: keyKind }) kind: z.infer<typeof keyKind>,
    @Param('generation', { schema: generation }) number: number,
    @Req() request: FastifyRequest,
  ): Promise<z.infer<typeof keyAnswer>> {
    const stored = await this.intake.receiveWhole(request, peer, KEY_BYTES_MAX, (bytes) =>
      this.keys.execute(peer, asId<RelationshipId>(id), { kind, generation: number }, bytes),
    );
    return { kind, generation: number, ...stored };
  }

  @Get('cycles/:id')
  @Responds(200, cycleStatus)
  status(@CurrentAgent() peer: AgentPeer, @Param('id', { schema: uuid }) id: string): Promise<CycleStatus> {
    return this.progress.status(peer, id);
  }

  /** Renews the lease. */
  @Put('cycles/:id')
  @Responds(200, cycleAnswer)
  renew(@CurrentAgent() peer: AgentPeer, @Param('id', { schema: uuid }) id: string): Promise<CycleAnswer> {
    return this.progress.renew(peer, id);
  }

  @Put('cycles/:id/segments/:sha256')
  @Responds(200, segmentAnswer)
  async putSegment(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('sha256', { schema: sha256Hex }) sha256: string,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof segmentAnswer>> {
    const answer = await this.intake.receive(request, peer, SEGMENT_BYTES_MAX, (body, sizeBytes) =>
      this.uploads.putSegment(peer, id, sha256, { body, sizeBytes }),
    );
    if (answer.created) void reply.status(201);
    return answer;
  }

  @Put('cycles/:id/lists/:sha256')
  @Responds(204)
  async putList(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('sha256', { schema: sha256Hex }) sha256: string,
    @Req() request: FastifyRequest,
  ): Promise<void> {
    await this.intake.receiveWhole(request, peer, LIST_BYTES_MAX, (bytes) => this.uploads.putList(peer, id, sha256, bytes));
  }

  @Post('cycles/:id/commit')
  @Responds(200, commitAnswer)
  async commit(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Req() request: FastifyRequest,
  ): Promise<CommitAnswer> {
    return this.intake.receiveWhole(request, peer, MANIFEST_BYTES_MAX, (bytes) => this.commitCycle.execute(peer, id, bytes));
  }

  @Put('cycles/:id/measures')
  @Responds(204)
  async measures(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: cycleMeasures }) measures: CycleMeasures,
  ): Promise<void> {
    await this.progress.measures(peer, id, measures);
  }

  @Post('cycles/:id/failure')
  @Responds(204)
  async fail(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: cycleFailure }) failure: z.infer<typeof cycleFailure>,
  ): Promise<void> {
    await this.progress.fail(peer, id, failure);
  }
}
