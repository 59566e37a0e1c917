import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { RequestMethod } from '@nestjs/common';
import { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import type { HttpApp } from '#libs/platform';
import { ACCESS, type Access } from '#libs/tenancy';

export interface DeclaredRoute {
  /** `METHOD /path/:id`. */
  readonly name: string;
  readonly access: Access | undefined;
}

/** Every route that a controller declares, with who may call it. */
export function declaredRoutes({ nest }: HttpApp): DeclaredRoute[] {
  const reflector = nest.get(Reflector);
  const scanner = new MetadataScanner();
  return nest
    .get(DiscoveryService)
    .getControllers()
    .flatMap(({ metatype }) => {
      const prototype = metatype!.prototype as Record<string, () => unknown>;
      return scanner.getAllMethodNames(prototype).flatMap((name) => {
        const handler = prototype[name]!;
        const method = Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod | undefined;
        if (method === undefined) return [];
        const parts = [Reflect.getMetadata(PATH_METADATA, metatype!) as string, Reflect.getMetadata(PATH_METADATA, handler) as string];
        const path = `/${parts
          .map((part) => part.replace(/^\/|\/$/g, ''))
          .filter((part) => part !== '')
          .join('/')}`;
        return [
          {
            name: `${RequestMethod[method]} ${path}`,
            access: reflector.getAllAndOverride<Access | undefined>(ACCESS, [handler, metatype!]),
          },
        ];
      });
    });
}
