import { type DynamicModule, Module } from '@nestjs/common';
import { z } from 'zod';
import { FollowedSource, ThirdSites } from './third-sites.js';

/** For the processes that carry chains on, or tell people where to. */
export const thirdSitesConfig = z.object({
  /** A JSON file: by name, where chains can be carried on to, and the credentials for it. */
  THIRD_SITES_FILE: z.string().optional(),
  /** The id of the installation that carries its chains to this one's store: they are taken in here. */
  FOLLOWED_INSTALLATION: z.uuid().optional(),
});

@Module({})
export class ThirdSitesModule {
  static forRoot({ THIRD_SITES_FILE: path, FOLLOWED_INSTALLATION: followed }: z.infer<typeof thirdSitesConfig>): DynamicModule {
    const provider = { provide: ThirdSites, useFactory: () => ThirdSites.load(path) };
    const source = { provide: FollowedSource, useFactory: () => new FollowedSource(followed ?? null) };
    return { module: ThirdSitesModule, global: true, providers: [provider, source], exports: [provider, source] };
  }
}
