import { Body, Controller, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import { z } from 'zod';
import { ProviderIdentity, TenantKeys } from '#libs/agents';
import { uuid } from '#libs/contracts/common';
import {
  keyPolicy,
  keyRequestDetails,
  type KeyRequestDetails,
  keyRequestsView,
  keyRequestView,
  type KeyRequestView,
  registerTenantKey,
  type RegisterTenantKey,
  releaseKeys,
  type ReleaseKeys as Release,
  rewrappedAnswer,
  rewrappedKeys,
  type RewrappedKeys,
  tenantKeysView,
  type TenantKeysView,
  wrappedKeysView,
} from '#libs/contracts/http';
import { asId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { renewKeysOfTenant } from '../tables/key-renewal.js';
import { KeyQueries } from '../use-cases/key-queries.js';
import { ReleaseKeys } from '../use-cases/release-keys.js';
import { RewrapKeys } from '../use-cases/rewrap-keys.js';
import { RotateDataKey } from '../use-cases/rotate-data-key.js';

const generationAnswer = z.object({ generation: z.int() });

/** The tenant's keys: who holds them, which versions there are, what waits for their release. */
@Controller('api/v1')
export class KeysController {
  constructor(
    private readonly tenantKeys: TenantKeys,
    private readonly queries: KeyQueries,
    private readonly rewrap: RewrapKeys,
    private readonly releases: ReleaseKeys,
    private readonly dataKeys: RotateDataKey,
    private readonly provider: ProviderIdentity,
  ) {}

  @Get('keys')
  @TenantRoute('keys:read')
  @Responds(200, tenantKeysView)
  async list(@CurrentTenant() tenantId: TenantId): Promise<TenantKeysView> {
    return this.queries.overview(tenantId, (await this.provider.root()).certificatePem);
  }

  /** The first version, or the next one: a rotation, also from one holder to the other. */
  @Post('keys')
  @TenantRoute('keys:write')
  @Responds(201, tenantKeysView)
  async register(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Body({ schema: registerTenantKey }) body: RegisterTenantKey,
  ): Promise<TenantKeysView> {
    const wish = {
      publicKeySpki: body.holder === 'tenant' ? Buffer.from(body.publicKey, 'base64') : null,
      possession: body.holder === 'tenant' ? Buffer.from(body.possession, 'base64') : null,
      succession: body.succession === undefined ? null : Buffer.from(body.succession, 'base64'),
    };
    await this.tenantKeys.register(actor, tenantId, wish, renewKeysOfTenant);
    return this.list(tenantId);
  }

  @Put('keys/policy')
  @TenantRoute('keys:write')
  @Responds(200, keyPolicy)
  async setPolicy(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Body({ schema: keyPolicy }) body: z.infer<typeof keyPolicy>,
  ): Promise<z.infer<typeof keyPolicy>> {
    await this.dataKeys.setPolicy(tenantId, actor, body);
    return this.dataKeys.policy(tenantId);
  }

  /** After a rotation: what the tenant, with its former private half, must wrap again. Some at a time; empty when all is done. */
  @Get('keys/to-rewrap')
  @TenantRoute('keys:write')
  @Responds(200, wrappedKeysView)
  async toRewrap(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof wrappedKeysView>> {
    return { items: await this.rewrap.ofTenant(tenantId) };
  }

  @Post('keys/rewrapped')
  @HttpCode(200)
  @TenantRoute('keys:write')
  @Responds(200, rewrappedAnswer)
  async rewrapped(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Body({ schema: rewrappedKeys }) body: RewrappedKeys,
  ): Promise<z.infer<typeof rewrappedAnswer>> {
    return { accepted: await this.rewrap.byTenant(tenantId, actor, body) };
  }

  /** A new generation of data keys, before the next cycle. */
  @Post('relationships/:id/data-keys')
  @TenantRoute('replication:write')
  @Responds(202, generationAnswer)
  rotateDataKey(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<z.infer<typeof generationAnswer>> {
    return this.dataKeys.execute(tenantId, actor, asId<RelationshipId>(id));
  }

  @Get('key-requests')
  @TenantRoute('keys:read')
  @Responds(200, keyRequestsView)
  async requests(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof keyRequestsView>> {
    return { items: await this.releases.list(tenantId) };
  }

  /** What to open, and for whom it may be wrapped. */
  @Get('key-requests/:id')
  @TenantRoute('failover:write')
  @Responds(200, keyRequestDetails)
  request(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<KeyRequestDetails> {
    return this.releases.details(tenantId, id);
  }

  @Post('key-requests/:id/release')
  @HttpCode(200)
  @TenantRoute('failover:write')
  @Responds(200, keyRequestView)
  release(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: releaseKeys }) body: Release,
  ): Promise<KeyRequestView> {
    return this.releases.release(tenantId, actor, id, body);
  }
}
