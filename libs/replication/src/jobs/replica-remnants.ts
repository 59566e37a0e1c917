import { type Remnants, TenantRemnants } from '#libs/agents';
import { type Installation, isNeededByOthers } from '#libs/chain';
import { PlatformError, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { UnitOfWork } from '#libs/platform';
import { readInstallation } from '../tables/installation.js';
import { forgetFilesAndReleases } from '../tables/tenant-remnants.js';
import { ThirdSites } from '../third-sites.js';

const AT_ONCE = 16;

/**
 * Of a tenant that is taken away: files in the clear, released and wrapped keys, and all that is sealed, so far as the store lets it go; at every third
 * site as well, also those that its chains are not carried to any more. A site that another installation has for its store, or follows at, is not touched: what
 * lies there is that one's, which may run from it. It counts as kept.
 */
export class ReplicaRemnants extends TenantRemnants {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly sites: ThirdSites,
  ) {
    super();
  }

  async remove(tenantId: TenantId): Promise<Remnants> {
    // Rows first: nothing is made or served of them any more.
    const rows = await this.unitOfWork.run(tenantId, forgetFilesAndReleases);
    let { removed, kept } = await this.empty(this.store, tenantId, null);
    const own = await this.unitOfWork.run(tenantId, readInstallation);
    for (const name of this.sites.names) {
      const found = await this.empty(await this.sites.open(name), tenantId, own);
      removed += found.removed;
      kept += found.kept;
    }
    return { removed: removed + rows, kept };
  }

  /** `of` is whose third site it must be, asked before each page: it may be taken over meanwhile. Null for the store itself. */
  private async empty(store: ObjectStore, tenantId: TenantId, of: Installation | null): Promise<Remnants> {
    let [removed, kept] = [0, 0];
    for await (const keys of this.pages(store, tenantId)) {
      if (of !== null && keys.length > 0 && (await isNeededByOthers(store, of))) {
        kept += keys.length;
        continue;
      }
      const gone = await Promise.all(keys.map((key) => this.isDeleted(store, key)));
      const count = gone.filter(Boolean).length;
      removed += count;
      kept += gone.length - count;
    }
    return { removed, kept };
  }

  private async *pages(store: ObjectStore, tenantId: TenantId): AsyncIterable<string[]> {
    let page: string[] = [];
    // What says that a chain is there goes first: a catalogue that is rebuilt meanwhile must find what it says.
    for (const prefix of [`r/${tenantId}/`, `t/${tenantId}/`])
      for await (const { key } of store.list(prefix)) {
        page.push(key);
        if (page.length < AT_ONCE) continue;
        yield page;
        page = [];
      }
    yield page;
  }

  private async isDeleted(store: ObjectStore, key: string): Promise<boolean> {
    try {
      await store.delete(key);
      return true;
    } catch (error) {
      if (error instanceof PlatformError && error.code === 'object.locked') return false;
      throw error;
    }
  }
}
