import { createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import { assert, type TenantId } from '#libs/kernel';
import type { HttpRequest } from '#libs/platform';
import type { Actor, OperatorActor, TenantActor } from '../domain/actor.js';
import type { ProviderPermission, TenantPermission } from '../domain/permissions.js';

export const ACCESS = 'holdfast:access';

/** Who may call a route. Every route says it; one that does not is refused to everybody. */
export type Access =
  | { readonly audience: 'tenant'; readonly permission: TenantPermission }
  | { readonly audience: 'operator'; readonly permission: ProviderPermission }
  | { readonly audience: 'anyone-signed-in' }
  | { readonly audience: 'public' };

/** For people of a tenant with this permission; their tenant is the request's. */
export const TenantRoute = (permission: TenantPermission): MethodDecorator & ClassDecorator =>
  SetMetadata(ACCESS, { audience: 'tenant', permission } satisfies Access);

/** For people of the provider with this permission. */
export const OperatorRoute = (permission: ProviderPermission): MethodDecorator & ClassDecorator =>
  SetMetadata(ACCESS, { audience: 'operator', permission } satisfies Access);

/** For everybody who is signed in, about themselves. */
export const SignedInRoute = (): MethodDecorator & ClassDecorator => SetMetadata(ACCESS, { audience: 'anyone-signed-in' } satisfies Access);

/** For everybody: sign-in, enrolment by a one-time token. */
export const PublicRoute = (): MethodDecorator & ClassDecorator => SetMetadata(ACCESS, { audience: 'public' } satisfies Access);

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the access guard on every route that is not public. */
    actor?: Actor;
  }
}

function actorOf(context: ExecutionContext): Actor {
  const { actor } = context.switchToHttp().getRequest<HttpRequest>();
  assert(actor !== undefined, 'the route is not public');
  return actor;
}

/** The tenant whose route this is: from who is signed in, never from the address or the body. */
export const CurrentTenant = createParamDecorator((_: unknown, context: ExecutionContext): TenantId => {
  const actor = actorOf(context);
  assert(actor.kind === 'user', 'the route is a tenant route');
  return actor.tenantId;
});

/** Whoever is signed in: a {@link TenantActor} on a tenant route, an {@link OperatorActor} on an operator route. */
export const CurrentActor = createParamDecorator((_: unknown, context: ExecutionContext): TenantActor | OperatorActor => actorOf(context));

/** The request's id, for the audit log. */
export const RequestId = createParamDecorator(
  (_: unknown, context: ExecutionContext): string => context.switchToHttp().getRequest<HttpRequest>().id,
);
