import { createHash } from 'node:crypto';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor, SetMetadata } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { CodedError, newId } from '#libs/kernel';
import type { AnyTx } from '../database/tx.js';
import { PlatformUnitOfWork, UnitOfWork } from '../database/unit-of-work.js';
import type { HttpRequest, Principal } from './request.js';

const SECRET_ANSWER = 'holdfast:secret-answer';
const KEY = /^[\x21-\x7e]{8,128}$/;

/** Marks a route whose answer shows a secret once: it is not remembered, and a repeat is refused with `idempotency.secret-answer`. */
export const SecretAnswer = (): MethodDecorator => SetMetadata(SECRET_ANSWER, true);

interface KeyRow {
  readonly request_sha256: Buffer;
  readonly status: number | null;
  readonly response: unknown;
  readonly is_locked: boolean;
}

/**
 * `Idempotency-Key` on POST: the same key with the same request gives the first answer again, within a day. A request
 * that failed, or whose server died, is forgotten, so that it may be repeated; what it did half, its use case must bear.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(
    private readonly reflector: Reflector,
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<HttpRequest>();
    const key = request.headers['idempotency-key'];
    if (request.method !== 'POST' || key === undefined || request.principal === undefined) return next.handle();
    if (typeof key !== 'string' || !KEY.test(key)) {
      throw new CodedError('idempotency.key-malformed', 'invalid', 'an Idempotency-Key is 8 to 128 printable characters');
    }
    const isSecret = this.reflector.get<boolean | undefined>(SECRET_ANSWER, context.getHandler()) ?? false;
    return from(this.#once(request, request.principal, key, isSecret, () => lastValueFrom(next.handle(), { defaultValue: undefined })));
  }

  async #once(request: HttpRequest, principal: Principal, key: string, isSecret: boolean, work: () => Promise<unknown>): Promise<unknown> {
    const hash = createHash('sha256')
      .update(`${request.url}\n${JSON.stringify(request.body ?? null)}`)
      .digest();
    const known = await this.#inTransaction(principal, (tx) => claim(tx, principal, key, hash));
    if (known !== undefined) return replay(known, hash);
    try {
      const answer = await work();
      await this.#inTransaction(principal, (tx) =>
        tx.execute(
          `update idempotency_key set status = $4, response = $5 where tenant_id is not distinct from $1 and actor_id = $2 and key = $3`,
          [principal.tenantId, principal.actorId, key, isSecret ? 0 : 200, isSecret ? null : JSON.stringify(answer ?? null)],
        ),
      );
      return answer;
    } catch (error) {
      await this.#inTransaction(principal, (tx) =>
        tx.execute(`delete from idempotency_key where tenant_id is not distinct from $1 and actor_id = $2 and key = $3`, [
          principal.tenantId,
          principal.actorId,
          key,
        ]),
      ).catch(() => undefined);
      throw error;
    }
  }

  #inTransaction<T>(principal: Principal, work: (tx: AnyTx) => Promise<T>): Promise<T> {
    return principal.tenantId === null ? this.platformUnitOfWork.run(work) : this.unitOfWork.run(principal.tenantId, work);
  }
}

/** Takes the key for this request, or returns the row of the request that has it. */
async function claim(tx: AnyTx, { tenantId, actorId }: Principal, key: string, hash: Buffer): Promise<KeyRow | undefined> {
  const taken = await tx.execute(
    `insert into idempotency_key as mine (id, tenant_id, actor_id, key, request_sha256, locked_until) values ($1, $2, $3, $4, $5, now() + interval '1 minute')
     on conflict (tenant_id, actor_id, key) do update
       set id = excluded.id, request_sha256 = excluded.request_sha256, locked_until = excluded.locked_until, status = null, response = null, created_at = now()
       where mine.created_at < now() - interval '1 day' or (mine.status is null and mine.locked_until < now())`,
    [newId(), tenantId, actorId, key, hash],
  );
  if (taken > 0) return undefined;
  return tx.one<KeyRow>(
    `select request_sha256, status, response, locked_until > now() as is_locked from idempotency_key
      where tenant_id is not distinct from $1 and actor_id = $2 and key = $3`,
    [tenantId, actorId, key],
  );
}

function replay(known: KeyRow, hash: Buffer): unknown {
  if (!known.request_sha256.equals(hash)) {
    throw new CodedError('idempotency.reused', 'conflict', 'this Idempotency-Key was used for another request');
  }
  if (known.status === null)
    throw new CodedError('idempotency.in-progress', 'conflict', 'the first request with this Idempotency-Key is not answered yet');
  if (known.status === 0) {
    throw new CodedError(
      'idempotency.secret-answer',
      'conflict',
      'this request was carried out; its answer was shown once and is not kept',
    );
  }
  return known.response ?? undefined;
}
