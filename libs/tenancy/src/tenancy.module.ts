import { Global, Module } from '@nestjs/common';
import { APP_GUARD, DiscoveryService, Reflector } from '@nestjs/core';
import { Clock } from '#libs/kernel';
import { discover, PlatformUnitOfWork, provide, Secrets, UnitOfWork } from '#libs/platform';
import { AccessGuard } from './http/access.guard.js';
import { ApiTokensController } from './http/api-tokens.controller.js';
import { AuthController } from './http/auth.controller.js';
import { OperatorController } from './http/operator.controller.js';
import { ApiTokenStrategy, SessionStrategy } from './http/strategies.js';
import { TenantController } from './http/tenant.controller.js';
import { PurgeExpired } from './jobs/purge-expired.js';
import { ApiTokens } from './use-cases/api-tokens.js';
import { AuditLog } from './use-cases/audit-log.js';
import { Authenticate } from './use-cases/authenticate.js';
import { CreateOperator } from './use-cases/create-operator.js';
import { CreateTenant, TenantCreatedHook } from './use-cases/create-tenant.js';
import { RenameTenant } from './use-cases/rename-tenant.js';
import { CreateUser } from './use-cases/create-user.js';
import { LogIn } from './use-cases/log-in.js';
import { LoginThrottle } from './use-cases/login-throttle.js';
import { Passwords } from './use-cases/passwords.js';

/** What every process needs of tenancy: the audit log. */
@Global()
@Module({ providers: [AuditLog], exports: [AuditLog] })
export class TenancyModule {}

/** What the worker does for tenancy. */
@Module({ imports: [TenancyModule], providers: [provide(PurgeExpired, PlatformUnitOfWork)] })
export class TenancyWorkerModule {}

/** Sign-in, people, tenants; and the guard before every route of the process. Needs `Secrets`. */
@Module({
  imports: [TenancyModule],
  controllers: [AuthController, TenantController, ApiTokensController, OperatorController],
  providers: [
    Passwords,
    provide(LoginThrottle, Clock),
    provide(LogIn, UnitOfWork, PlatformUnitOfWork, Passwords, LoginThrottle, AuditLog, Secrets),
    provide(Authenticate, PlatformUnitOfWork, Secrets),
    provide(ApiTokens, UnitOfWork, PlatformUnitOfWork, AuditLog, Secrets),
    provide(CreateUser, UnitOfWork, Passwords, AuditLog),
    provide(CreateOperator, PlatformUnitOfWork, Passwords, AuditLog),
    {
      provide: CreateTenant,
      useFactory: (unitOfWork: UnitOfWork, platform: PlatformUnitOfWork, auditLog: AuditLog, discovery: DiscoveryService) =>
        new CreateTenant(unitOfWork, platform, auditLog, () => discover(discovery, TenantCreatedHook)),
      inject: [UnitOfWork, PlatformUnitOfWork, AuditLog, DiscoveryService],
    },
    provide(RenameTenant, UnitOfWork, PlatformUnitOfWork, AuditLog),
    ApiTokenStrategy,
    SessionStrategy,
    {
      provide: APP_GUARD,
      useFactory: (reflector: Reflector, secrets: Secrets) => new AccessGuard(reflector, secrets),
      inject: [Reflector, Secrets],
    },
  ],
  exports: [CreateOperator, CreateTenant, CreateUser],
})
export class TenancyHttpModule {}
