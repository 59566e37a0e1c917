import { Controller, Get, Query } from '@nestjs/common';
import { z } from 'zod';
import { jobView, type JobView } from '#libs/contracts/http';
import { PlatformUnitOfWork, Responds } from '#libs/platform';
import { OperatorRoute } from '#libs/tenancy';

const jobs = z.object({ items: z.array(jobView) });
const jobsQuery = z.object({ limit: z.coerce.number().int().min(1).max(500).default(100) });

interface JobRow {
  readonly id: string;
  readonly kind: string;
  /** What it is about: the failover, where it is one's. */
  readonly subject: string;
  readonly tenant_id: string;
  readonly tenant_name: string;
  readonly step: string | null;
  readonly step_state: string | null;
  readonly status: 'running' | 'succeeded' | 'undone';
  readonly direction: 'forward' | 'backward';
  readonly attempts: number;
  readonly error_code: string | null;
  readonly created_at: Date;
  readonly finished_at: Date | null;
}

/** The operations of many steps that are under way or ended lately, across tenants. */
@Controller('api/v1/operator/jobs')
export class JobsController {
  constructor(private readonly unitOfWork: PlatformUnitOfWork) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, jobs)
  async list(@Query({ schema: jobsQuery }) { limit }: z.infer<typeof jobsQuery>): Promise<z.infer<typeof jobs>> {
    const rows = await this.unitOfWork.run((tx) =>
      tx.query<JobRow>(
        `select s.id, s.kind, coalesce(s.state->>'failoverId', s.id::text) as subject, s.tenant_id, t.name as tenant_name, p.name as step, p.state as step_state, s.status, s.direction, s.attempts,
                s.error_code, s.created_at, s.finished_at
           from saga s
           join tenant t on t.id = s.tenant_id
           left join saga_step p on p.tenant_id = s.tenant_id and p.saga_id = s.id and p.position = s.step_index
          order by s.finished_at is not null, s.created_at desc limit $1`,
        [limit],
      ),
    );
    return { items: rows.map(toView) };
  }
}

function toView(row: JobRow): JobView {
  return {
    id: row.id,
    kind: row.kind,
    tenantId: row.tenant_id,
    tenantName: row.tenant_name,
    subject: row.subject,
    step: row.step,
    state: stateOf(row),
    attempts: row.attempts,
    startedAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
    failureCode: row.error_code,
  };
}

function stateOf({ status, direction, step_state, attempts }: JobRow): JobView['state'] {
  if (status === 'succeeded') return 'succeeded';
  if (status === 'undone') return 'failed';
  if (direction === 'backward') return 'undoing';
  if (step_state === 'waiting') return 'waiting';
  return attempts > 0 ? 'retrying' : 'running';
}
