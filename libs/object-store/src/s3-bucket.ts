import {
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  PutObjectRetentionCommand,
  S3ServiceException,
  type ObjectLockRetentionMode,
} from '@aws-sdk/client-s3';
import { MINUTE_MS, type Clock } from '#libs/kernel';
import { lockUnsupported, objectLocked } from './object-errors.js';
import type { Locking } from './object-store.js';
import type { S3Connection } from './s3-connection.js';
import { listVersions } from './s3-listing.js';
import { wholeSecond } from './whole-second.js';

const CLOCK_SKEW_MS = 5 * MINUTE_MS;

const MODES = { governance: 'GOVERNANCE', compliance: 'COMPLIANCE' } as const;

/** What hangs on how the bucket is configured: whether a delete leaves versions behind, and whether objects can be locked. */
export class S3Bucket {
  /** Undefined until asked. May be turned on later, never off. */
  private hasVersions: boolean | undefined;
  /** As `hasVersions`. */
  private lockingFound: Locking = 'none';
  private readonly lockingKeys = new Map<string, Promise<void>>();

  constructor(
    private readonly connection: S3Connection,
    private readonly lockMode: 'governance' | 'compliance',
    private readonly clock: Clock,
  ) {}

  async locking(): Promise<Locking> {
    if (this.lockingFound === 'none') this.lockingFound = await this.askLocking();
    return this.lockingFound;
  }

  /** How a put asks for a lock. `object.lock-unsupported`. */
  async lockHeaders(until: Date): Promise<{ ObjectLockMode: ObjectLockRetentionMode; ObjectLockRetainUntilDate: Date }> {
    return { ObjectLockMode: await this.mode(), ObjectLockRetainUntilDate: wholeSecond(until) };
  }

  /**
   * One after the other for each key: some servers (Ceph 16) compare a new lock with the old one and then write it, so that of two at the same
   * instant the shorter may stay. Among processes the caller sees to it that one of them extends locks.
   */
  async lock(key: string, until: Date): Promise<void> {
    const before = this.lockingKeys.get(key) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(() => this.extendLock(key, until));
    this.lockingKeys.set(key, mine);
    try {
      await mine;
    } finally {
      if (this.lockingKeys.get(key) === mine) this.lockingKeys.delete(key);
    }
  }

  /**
   * On a versioned bucket every version and delete marker of the key, the visible one last: whenever this is cut, the object is either wholly
   * there or gone, and an older version never comes to light.
   */
  async delete(key: string): Promise<void> {
    this.hasVersions ??= await this.askVersioning();
    if (!this.hasVersions) {
      const { DeleteMarker, VersionId } = await this.connection.client.send(new DeleteObjectCommand(this.connection.named(key)));
      if (DeleteMarker !== true || VersionId === undefined) return;
      // Versioning was turned on since: the object is hidden, not gone. A lock may hold it, so it is brought back first.
      this.hasVersions = true;
      await this.deleteVersion(key, VersionId);
    }
    const versions = await listVersions(this.connection, key);
    for (const { versionId } of versions.sort((a, b) => Number(a.isLatest) - Number(b.isLatest))) await this.deleteVersion(key, versionId);
  }

  private async extendLock(key: string, until: Date): Promise<void> {
    const mode = await this.mode();
    const wanted = wholeSecond(until);
    const found = await this.lockOf(key);
    if (found.until >= wanted) return;
    // The mode of a lock that holds cannot be changed, only its end.
    const Mode = found.until > this.clock.now() ? found.mode : mode;
    const Retention = { Mode, RetainUntilDate: wanted };
    try {
      await this.connection.client.send(new PutObjectRetentionCommand({ ...this.connection.named(key), Retention }));
    } catch (error) {
      // Refused as a shortening where somebody has locked it for longer since.
      if (!isRefused(error) || (await this.lockOf(key)).until < wanted) throw error;
    }
  }

  private async lockOf(key: string): Promise<{ until: Date; mode: ObjectLockRetentionMode | undefined }> {
    const found = await this.connection.client.send(new HeadObjectCommand(this.connection.named(key)));
    return { until: found.ObjectLockRetainUntilDate ?? new Date(0), mode: found.ObjectLockMode };
  }

  private async deleteVersion(key: string, versionId: string): Promise<void> {
    const version = { ...this.connection.named(key), VersionId: versionId };
    try {
      await this.connection.client.send(new DeleteObjectCommand(version));
    } catch (error) {
      if (!isRefused(error)) throw error;
      // Servers say of a lock no more than 403: it can be seen from the object alone. The server's clock decides, and may be behind.
      const found = await this.connection.client.send(new HeadObjectCommand(version)).catch(() => null);
      const until = found?.ObjectLockRetainUntilDate;
      if (until !== undefined && until.getTime() > this.clock.now().getTime() - CLOCK_SKEW_MS) throw objectLocked(key, until);
      if (found?.ObjectLockLegalHoldStatus === 'ON') throw objectLocked(key);
      throw error;
    }
  }

  private async mode(): Promise<ObjectLockRetentionMode> {
    const locking = await this.locking();
    if (locking === 'none') throw lockUnsupported();
    return MODES[locking];
  }

  private async askLocking(): Promise<Locking> {
    try {
      const { ObjectLockConfiguration: found } = await this.connection.client.send(
        new GetObjectLockConfigurationCommand({ Bucket: this.connection.bucket }),
      );
      if (found?.ObjectLockEnabled !== 'Enabled') return 'none';
      const mode = found.Rule?.DefaultRetention?.Mode;
      return mode === undefined ? this.lockMode : mode === 'COMPLIANCE' ? 'compliance' : 'governance';
    } catch (error) {
      if (isUnknownThere(error) || (error instanceof Error && error.name === 'ObjectLockConfigurationNotFoundError')) return 'none';
      throw error;
    }
  }

  /** True also where versioning is suspended: there are versions from before. */
  private async askVersioning(): Promise<boolean> {
    try {
      const { Status } = await this.connection.client.send(new GetBucketVersioningCommand({ Bucket: this.connection.bucket }));
      return Status !== undefined;
    } catch (error) {
      if (isUnknownThere(error)) return false;
      throw error;
    }
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof S3ServiceException && error.$metadata.httpStatusCode === 403;
}

/** Servers without this part of S3. */
function isUnknownThere(error: unknown): boolean {
  return error instanceof S3ServiceException && [405, 501].includes(error.$metadata.httpStatusCode ?? 0);
}
