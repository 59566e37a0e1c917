import { type DynamicModule, Module } from '@nestjs/common';
import { z } from 'zod';
import { ThirdSites } from './third-sites.js';

/** For the processes that carry chains on, or tell people where to. */
export const thirdSitesConfig = z.object({
  /** A JSON file: by name, where chains can be carried on to, and the credentials for it. */
  THIRD_SITES_FILE: z.string().optional(),
});

@Module({})
export class ThirdSitesModule {
  static forRoot({ THIRD_SITES_FILE: path }: z.infer<typeof thirdSitesConfig>): DynamicModule {
    const provider = { provide: ThirdSites, useFactory: () => ThirdSites.load(path) };
    return { module: ThirdSitesModule, global: true, providers: [provider], exports: [provider] };
  }
}
