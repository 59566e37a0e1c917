import { type Remnants, TenantRemnants } from '#libs/agents';
import { PlatformError, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { UnitOfWork } from '#libs/platform';
import { forgetFilesAndReleases } from '../tables/tenant-remnants.js';

const AT_ONCE = 16;

/** Of a tenant that is taken away: files in the clear, released and wrapped keys, and all that is sealed, so far as the store lets it go. */
export class ReplicaRemnants extends TenantRemnants {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {
    super();
  }

  async remove(tenantId: TenantId): Promise<Remnants> {
    // Rows first: nothing is made or served of them any more.
    const rows = await this.unitOfWork.run(tenantId, forgetFilesAndReleases);
    let [removed, kept] = [rows, 0];
    for await (const keys of this.pages(tenantId)) {
      const gone = await Promise.all(keys.map((key) => this.isDeleted(key)));
      const count = gone.filter(Boolean).length;
      removed += count;
      kept += gone.length - count;
    }
    return { removed, kept };
  }

  private async *pages(tenantId: TenantId): AsyncIterable<string[]> {
    let page: string[] = [];
    for await (const { key } of this.store.list(`t/${tenantId}/`)) {
      page.push(key);
      if (page.length < AT_ONCE) continue;
      yield page;
      page = [];
    }
    yield page;
  }

  private async isDeleted(key: string): Promise<boolean> {
    try {
      await this.store.delete(key);
      return true;
    } catch (error) {
      if (error instanceof PlatformError && error.code === 'object.locked') return false;
      throw error;
    }
  }
}
