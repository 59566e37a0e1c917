import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { build } from 'vite';
import type { TenantId } from '#libs/kernel';
import { CreateUser } from '#libs/tenancy';
import { PASSWORD, startTestApi } from './api.js';
import { createTestDatabase, type TestDatabase } from './database.js';
import { launchBrowser } from './portal-browser.js';
import { heartBeat, seedCluster, seedSite } from './portal-seed.js';
import type { SeededVm } from './seed.js';

const PORTAL = fileURLToPath(new URL('../../apps/portal', import.meta.url));

export const PORTAL_ADMIN = 'ada@contoso.test';

/** The portal's pages as they are built, an api that serves them, a site and a cluster to show, and a browser. */
export interface PortalStage {
  readonly url: string;
  readonly database: TestDatabase;
  readonly browser: Browser;
  readonly contosoId: TenantId;
  readonly vm: SeededVm;
  /** The replica node that works. */
  readonly nodeId: string;
  close(): Promise<void>;
}

export async function startPortalStage(): Promise<PortalStage> {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-portal-'));
  await build({ root: PORTAL, configFile: join(PORTAL, 'vite.config.ts'), logLevel: 'warn', build: { outDir: dir } });
  const database = await createTestDatabase();
  const api = await startTestApi(database, { PORTAL_DIR: dir });
  const url = await api.app.listen();
  const contoso = await api.tenant('contoso');
  await api.tenant('fabrikam');
  const system = { kind: 'system', id: null, name: 'test' } as const;
  const ada = { email: PORTAL_ADMIN, name: 'Ada Byron', role: 'admin', password: PASSWORD } as const;
  await api.app.nest.get(CreateUser).execute(system, contoso.id, ada);
  const nodeId = await seedCluster(database);
  const vm = await seedSite(database, contoso.id);
  const heart = setInterval(() => void heartBeat(database).catch(() => undefined), 2_000);
  const browser = await launchBrowser();
  const close = async (): Promise<void> => {
    clearInterval(heart);
    await browser.close();
    await api.close();
    await database.drop();
    rmSync(dir, { recursive: true, force: true });
  };
  return { url, database, browser, contosoId: contoso.id, vm, nodeId, close };
}
