import { Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { sha256Hex } from '#libs/contracts/common';
import { heldSweepView, type HeldSweepView } from '#libs/contracts/http';
import { Responds } from '#libs/platform';
import { CurrentActor, type OperatorActor, OperatorRoute } from '#libs/tenancy';
import { HeldCollections } from '../use-cases/held-collections.js';

const sweeps = z.object({ items: z.array(heldSweepView) });
const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) });

/** What collection would delete, too much for it to do so by itself. */
@Controller('api/v1/operator/collections')
export class CollectionsController {
  constructor(private readonly held: HeldCollections) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, sweeps)
  async list(@Query({ schema: listQuery }) { limit }: z.infer<typeof listQuery>): Promise<z.infer<typeof sweeps>> {
    return { items: await this.held.list(limit) };
  }

  /** The word of one operator; it takes that of two. */
  @Post(':digest/approve')
  @OperatorRoute('tenants:delete')
  @HttpCode(200)
  @Responds(200, heldSweepView)
  approve(@CurrentActor() actor: OperatorActor, @Param('digest', { schema: sha256Hex }) digest: string): Promise<HeldSweepView> {
    return this.held.approve(actor, digest);
  }
}
