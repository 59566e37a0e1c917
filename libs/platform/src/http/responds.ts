import { applyDecorators, HttpCode, SerializeOptions, StandardSchemaValidationPipe } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { z } from 'zod';
import { CodedError } from '#libs/kernel';

/**
 * What a route answers. The answer passes the schema on its way out, so that what the schema does not name cannot leak;
 * the OpenAPI document says the same. Lists are objects with `items`: a schema for a bare array is not supported.
 */
export function Responds(status: number, schema?: z.ZodType): MethodDecorator {
  if (schema === undefined) return applyDecorators(HttpCode(status), ApiResponse({ status }));
  return applyDecorators(HttpCode(status), ApiResponse({ status, standardSchema: schema }), SerializeOptions({ schema }));
}

const ISSUES_MAX = 20;

/** Parses whatever a route declares with `@Body({ schema })`, `@Param('id', { schema })`, `@Query({ schema })`. Refuses with `request.invalid`. */
export function validationPipe(): StandardSchemaValidationPipe {
  return new StandardSchemaValidationPipe({
    exceptionFactory: (issues) => {
      const listed = issues.slice(0, ISSUES_MAX).map(({ path = [], message }) => ({
        path: path.map((segment) => String(typeof segment === 'object' ? segment.key : segment)).join('.'),
        message,
      }));
      return new CodedError('request.invalid', 'invalid', 'the request is not what this address takes', { issues: listed });
    },
  });
}
