import { randomBytes, randomInt } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileObjectStore, putBytes, sha256Hex } from '#libs/object-store';
import { count } from '../support/counts.js';
import { PowerCutDisk, whyNoPowerCuts } from '../support/power-cut-disk.js';

/* What the directory store acknowledged is still there, and whole, after a power cut at any moment. */

const reason = await whyNoPowerCuts();

describe.skipIf(reason !== undefined)(`power cuts of a directory store${reason === undefined ? '' : ` (not here: ${reason})`}`, () => {
  let disk: PowerCutDisk;
  beforeAll(async () => {
    disk = await PowerCutDisk.make();
  });
  afterAll(() => disk?.remove());

  it(`lose nothing that was acknowledged, in ${count(10, 300)} of them`, { timeout: 600_000 }, async () => {
    const trial = new Trial(disk);
    for (let turn = 0; turn < count(10, 300); turn += 1) expect(await trial.turn(), `turn ${turn}`).toEqual([]);
    expect(trial.acknowledged).toBeGreaterThan(count(50, 2000));
  });

  it.each<[what: string, skips: (isDirectory: boolean) => boolean]>([
    ['files', (isDirectory) => !isDirectory],
    ['directories', (isDirectory) => isDirectory],
  ])('would be noticed where %s were not synced', async (_what, skips) => {
    const restore = await withoutSync(skips);
    try {
      const trial = new Trial(disk);
      let losses: string[] = [];
      for (let turn = 0; turn < 40 && losses.length === 0; turn += 1) losses = await trial.turn();
      expect(losses).not.toEqual([]);
    } finally {
      restore();
    }
  });
});

/** What the store said, which must still hold after the cut. Operations that were cut may have taken place or not. */
class Trial {
  acknowledged = 0;
  private readonly there = new Map<string, string>();
  private readonly gone = new Set<string>();
  private readonly uncertain = new Map<string, string>();
  private failure: unknown;
  private readonly root: string;

  constructor(private readonly disk: PowerCutDisk) {
    this.root = join(disk.mountPoint, `store-${randomBytes(4).toString('hex')}`);
  }

  /** Works on the store until the power is cut, and tells what is missing or damaged when it is back. */
  async turn(): Promise<string[]> {
    const store = await FileObjectStore.open(this.root, { leftoversAfterMs: 0 });
    const cutAfter = this.acknowledged + randomInt(1, 40);
    // Quiet: nothing else is under way at the cut, which could have made the last answer durable by chance.
    const [writers, isQuiet] = [randomInt(1, 5), randomInt(2) === 0];
    let cutting: Promise<void> | undefined;
    const write = async (): Promise<void> => {
      for (;;) {
        if (isQuiet && cutting !== undefined) return;
        if (!(await this.operate(store))) return;
        this.acknowledged += 1;
        if (this.acknowledged >= cutAfter) cutting ??= this.disk.cut();
      }
    };
    await Promise.all(Array.from({ length: writers }, write));
    if (cutting === undefined) throw new Error('the store failed before the cut', { cause: this.failure });
    await cutting;
    await this.disk.powerUp();
    return this.losses();
  }

  /** One put or delete; false when the power is gone. */
  private async operate(store: FileObjectStore): Promise<boolean> {
    const [known] = this.there.keys();
    const isDelete = known !== undefined && randomInt(200) < this.there.size;
    const key = isDelete ? known : `t/${randomInt(1000)}/${randomBytes(6).toString('hex')}`;
    const bytes = randomBytes(randomInt(200_000));
    const sha256 = this.there.get(key) ?? sha256Hex(bytes);
    this.there.delete(key);
    this.uncertain.set(key, sha256);
    try {
      await (isDelete ? store.delete(key) : putBytes(store, key, bytes));
    } catch (error) {
      this.failure = error;
      return false;
    }
    this.uncertain.delete(key);
    if (isDelete) this.gone.add(key);
    else this.there.set(key, sha256);
    return true;
  }

  private async losses(): Promise<string[]> {
    const store = await FileObjectStore.open(this.root);
    const losses: string[] = [];
    const found = new Set<string>();
    for await (const { key } of store.list('')) {
      found.add(key);
      const sha256 = this.there.get(key) ?? this.uncertain.get(key);
      if (this.gone.has(key)) losses.push(`${key} is back`);
      else if (sha256Hex(await store.get(key)) !== sha256) losses.push(`${key} is damaged`);
    }
    for (const key of this.there.keys()) if (!found.has(key)) losses.push(`${key} is lost`);
    // What was cut is settled by what is found now.
    for (const [key, sha256] of this.uncertain) if (found.has(key)) this.there.set(key, sha256);
    this.uncertain.clear();
    return losses;
  }
}

/** Every sync of what `skips` says yes to does nothing, until the returned function is called. */
async function withoutSync(skips: (isDirectory: boolean) => boolean): Promise<() => void> {
  const handle = await open('/dev/null');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const { sync } = prototype;
  prototype.sync = async function (this: FileHandle): Promise<void> {
    if (!skips((await this.stat()).isDirectory())) await sync.call(this);
  };
  return () => {
    prototype.sync = sync;
  };
}
