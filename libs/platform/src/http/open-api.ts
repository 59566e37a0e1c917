import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';

/** The OpenAPI document of every route, at `/docs`, as JSON at `/docs/json`. The schemas are the ones that requests and answers pass. */
export function serveOpenApi(nest: NestFastifyApplication, title: string): void {
  SwaggerModule.setup('docs', nest, () => openApiDocument(nest, title), { jsonDocumentUrl: 'docs/json', yamlDocumentUrl: 'docs/yaml' });
}

export function openApiDocument(nest: NestFastifyApplication, title: string): OpenAPIObject {
  const config = new DocumentBuilder()
    .setTitle(title)
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer' }, 'token')
    .addCookieAuth('holdfast_session', { type: 'apiKey', in: 'cookie' }, 'session')
    .build();
  return SwaggerModule.createDocument(nest, config);
}
