import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommittedPoint } from '#libs/chain';
import { KIB, MIB, SECOND_MS, SilentLogger, SystemClock } from '#libs/kernel';
import { Imports, type ImportRecord, type ImportWish, type PrimaryAgent, type StateDirectory } from '#libs/primary';
import { differencingVhdImage, differencingVhdxImage, dynamicVhdImage, dynamicVhdxImage, FileSource, saveImage } from '#libs/vhd';
import { eventually } from '../support/eventually.js';
import {
  createTestProvider,
  enrolTestAgent,
  expectPointEquals,
  startTestAgent,
  TestReceiver,
  type TestProvider,
} from '../support/primary/index.js';

/*
 * Disk files of every format, made by QEMU and by ourselves, become recovery points: each opens equal to its file, in order, and carries no more than changed.
 */

const run = promisify(execFile);
const DISK_BYTES = 12 * MIB + 512;
const WISH = { cpuCount: 1, memoryBytes: 256 * MIB, firmware: 'bios', bus: 'sata' } as const;

/** What happens between one state of the disk and the next: at an offset so many bytes of one value. */
type Write = readonly [offset: number, length: number, value: number];
const STEPS: readonly (readonly Write[])[] = [
  [
    [MIB, 2 * MIB, 0x11],
    [8 * MIB - 512, MIB, 0x22],
  ],
  [
    [MIB + 3 * KIB, 1024, 0x33],
    [2 * MIB, 512 * KIB, 0],
    [5 * MIB, 64 * KIB, 0x44],
  ],
  [[DISK_BYTES - 512, 512, 0x55]],
];

let directory: string;
let receiver: TestReceiver;
let provider: TestProvider;
let state: StateDirectory;
let imports: Imports;
let agent: PrimaryAgent;
/** The disk after each step, and as a raw file. */
const contents: Buffer[] = [];
const raws: string[] = [];
const sources: FileSource[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-import-'));
  const clock = new SystemClock();
  provider = await createTestProvider(clock);
  receiver = new TestReceiver(clock);
  await receiver.start();
  state = await enrolTestAgent(provider, { dataDir: join(directory, 'agent'), tenantId: receiver.tenantId, receiverUrl: receiver.url });
  imports = new Imports(state, new SilentLogger());
  let content: Buffer = Buffer.alloc(DISK_BYTES);
  for (const [at, writes] of STEPS.entries()) {
    content = Buffer.from(content);
    for (const [offset, length, value] of writes) content.fill(value, offset, offset + length);
    contents.push(content);
    raws.push(join(directory, `state-${at}.raw`));
    await writeFile(raws[at]!, content);
  }
  agent = await startTestAgent(state, []);
});

afterAll(async () => {
  await agent?.stop();
  await receiver?.stop();
  await Promise.all(sources.map((source) => source.close()));
  await rm(directory, { recursive: true, force: true });
});

/** The files of one disk in some format, each state over the one before. */
const FORMATS: Readonly<Record<string, (at: (name: string) => string) => Promise<string[]>>> = {
  'whole raw disks': async () => raws,
  'a qcow2 with backing files, by QEMU': async (at) => {
    const files = ['a', 'b', 'c'].map((name) => at(`${name}.qcow2`));
    await run('qemu-img', ['convert', '-O', 'qcow2', raws[0]!, files[0]!]);
    for (let step = 1; step < files.length; step += 1) {
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', files[step - 1]!, '-F', 'qcow2', files[step]!]);
      const commands = STEPS[step]!.flatMap(([offset, length, value]) => [
        '-c',
        value === 0 ? `write -z ${offset} ${length}` : `write -P ${value} ${offset} ${length}`,
      ]);
      await run('qemu-io', ['-f', 'qcow2', ...commands, files[step]!]);
    }
    return files;
  },
  'a VHDX by QEMU, then whole copies as compressed qcow2': async (at) => {
    await run('qemu-img', ['convert', '-O', 'vhdx', raws[0]!, at('a.vhdx')]);
    await run('qemu-img', ['convert', '-c', '-O', 'qcow2', raws[1]!, at('b.qcow2')]);
    return [at('a.vhdx'), at('b.qcow2'), raws[2]!];
  },
  'a VHD and its differencing children': async (at) => {
    const files = ['a', 'b', 'c'].map((name) => at(`${name}.vhd`));
    let image = await dynamicVhdImage(await sourceOf(0), new Date('2026-01-01T00:00:00Z'));
    await saveImage(image, files[0]!);
    for (let step = 1; step < files.length; step += 1) {
      const parent = { ...image.identity, fileName: basename(files[step - 1]!) };
      image = differencingVhdImage(await sourceOf(step), changesOf(step), parent, new Date('2026-01-02T00:00:00Z'));
      await saveImage(image, files[step]!);
    }
    return files;
  },
  'a VHDX and its differencing children': async (at) => {
    const files = ['a', 'b', 'c'].map((name) => at(`${name}.vhdx`));
    let image = await dynamicVhdxImage(await sourceOf(0), { blockBytes: MIB });
    await saveImage(image, files[0]!);
    for (let step = 1; step < files.length; step += 1) {
      const { dataWriteId, diskId } = image.identity;
      const options = { diskId, dataWriteId: randomUUID(), blockBytes: MIB };
      image = differencingVhdxImage(await sourceOf(step), changesOf(step), { dataWriteId, fileName: basename(files[step - 1]!) }, options);
      await saveImage(image, files[step]!);
    }
    return files;
  },
};

async function sourceOf(step: number): Promise<FileSource> {
  const source = await FileSource.open(raws[step]!);
  sources.push(source);
  return source;
}

function changesOf(step: number): { offset: number; length: number }[] {
  return STEPS[step]!.map(([offset, length]) => ({ offset, length })).toSorted((a, b) => a.offset - b.offset);
}

async function placeFor(name: string): Promise<(file: string) => string> {
  const place = join(directory, name.replaceAll(/[^a-z]/gi, '-'));
  await mkdir(place);
  return (file) => join(place, file);
}

async function wish(name: string, disks: readonly (readonly string[])[], more: Partial<ImportWish> = {}): Promise<ImportRecord> {
  return imports.add({ ...WISH, name, disks, ...more });
}

async function imported(
  record: ImportRecord,
  count: number,
): Promise<{ points: CommittedPoint[]; relationship: Awaited<ReturnType<TestReceiver['protect']>> }> {
  const relationship = await receiver.protect(record.sourceId);
  const points = await eventually(
    `${count} points of ${record.name}`,
    async () => {
      const found = (await receiver.points(relationship.id)).filter(({ kind }) => kind === 'point');
      return found.length >= count && found;
    },
    20 * SECOND_MS,
  );
  return { points, relationship };
}

describe.each(Object.entries(FORMATS))('%s', (name, make) => {
  it('become points in order, each equal to its file', async () => {
    const files = await make(await placeFor(name));
    const instants = [1, 2, 3].map((day) => new Date(`2026-03-0${day}T04:05:06.000Z`));
    const record = await wish(name, [files], { instants });
    const { points, relationship } = await imported(record, STEPS.length);
    expect(points).toHaveLength(STEPS.length);
    expect(points.map(({ instant }) => instant)).toEqual(instants);
    for (const [at, point] of points.entries()) await expectPointEquals(receiver.store, relationship, point.ref, state, [contents[at]!]);
    const status = await eventually('its rest', async () => {
      const own = agent.status.relationships.find(({ relationshipId }) => relationshipId === relationship.id)!;
      return own.activity === 'waiting' && own.lastCycle !== null && own;
    });
    // One sector, in the grains or clusters that the format has.
    expect(status.lastCycle!.changedBytes).toBeLessThanOrEqual(128 * KIB);
    receiver.command('replication.run-cycle', { relationshipId: relationship.id });
    await eventually('that nothing more comes', async () => agent.status.relationships.every(({ lastError }) => lastError === null));
    expect((await receiver.points(relationship.id)).filter(({ kind }) => kind === 'point')).toHaveLength(STEPS.length);
  });
});

describe('an import', () => {
  it('goes on where it was when the agent stopped, with several disks, one of which changes no more', async () => {
    const record = await wish('two disks', [raws, [raws[1]!]], { instants: [1, 2, 3].map((hour) => new Date(Date.UTC(2026, 0, 1, hour))) });
    const relationship = await receiver.protect(record.sourceId);
    await eventually('a cycle', async () => (await receiver.points(relationship.id)).length > 0, 20 * SECOND_MS);
    await agent.stop();
    agent = await startTestAgent(state, []);
    const points = await eventually(
      'the points',
      async () => {
        const found = (await receiver.points(relationship.id)).filter(({ kind }) => kind === 'point');
        return found.length >= 3 && found;
      },
      20 * SECOND_MS,
    );
    for (const [at, point] of points.entries())
      await expectPointEquals(receiver.store, relationship, point.ref, state, [contents[at]!, contents[1]!]);
  });

  it('takes the times of its files, and asks for others where they are out of order', async () => {
    const place = await placeFor('times');
    const files = [place('one'), place('two')];
    for (const [at, file] of files.entries()) {
      await writeFile(file, contents[at]!);
      await utimes(file, 1_700_000_000 - at * 60, 1_700_000_000 - at * 60);
    }
    await expect(wish('times', [files])).rejects.toMatchObject({ code: 'import.instants-unfit' });
    expect((await wish('times', [files.toReversed()])).instants).toEqual(['2023-11-14T22:12:20.000Z', '2023-11-14T22:13:20.000Z']);
    await expect(wish('times', [files.toReversed()])).rejects.toMatchObject({ code: 'import.name-taken' });
    await imports.forget('times');
    await expect(imports.forget('times')).rejects.toMatchObject({ code: 'import.unknown' });
  });

  it('is refused with what is wrong about a file', async () => {
    const place = await placeFor('broken');
    const [base, child] = await FORMATS['a VHD and its differencing children']!(place);
    await expect(wish('orphan', [[child!]])).rejects.toMatchObject({ code: 'vhd.parent-missing' });
    await expect(wish('gone', [[place('nothing')]])).rejects.toMatchObject({ code: 'import.file-missing' });
    await expect(wish('no disk', [[base!]], { format: 'qcow2' })).rejects.toMatchObject({ code: 'qcow2.signature-missing' });
    const cut = place('cut.vhdx');
    await run('qemu-img', ['convert', '-O', 'vhdx', raws[0]!, cut]);
    await truncate(cut, 3 * MIB);
    await expect(wish('cut', [[cut]])).rejects.toMatchObject({ code: 'vhdx.truncated' });
    const noise = place('noise.vhdx');
    await writeFile(noise, Buffer.concat([Buffer.from('vhdxfile'), randomBytes(MIB)]));
    await expect(wish('noise', [[noise]])).rejects.toMatchObject({ code: expect.stringMatching(/^vhdx\./) });
    const [, second] = await FORMATS['a qcow2 with backing files, by QEMU']!(await placeFor('other'));
    const another = place('another.qcow2');
    await run('qemu-img', ['convert', '-O', 'qcow2', raws[0]!, another]);
    await expect(wish('other', [[another, second!]], { instants: [new Date(0), new Date(1)] })).rejects.toMatchObject({
      code: 'import.parent-mismatch',
    });
    expect((await imports.list()).map(({ name }) => name)).not.toContain('cut');
  });

  it('says that a file was changed meanwhile, and reads nothing of it', async () => {
    const file = (await placeFor('changing'))('disk.raw');
    await writeFile(file, contents[0]!);
    const record = await wish('changing', [[file]]);
    await writeFile(file, contents[1]!);
    const { vms } = await imports.inventory();
    expect(vms.find(({ definition }) => definition.name === 'changing')!.obstacle).toContain('was changed since its import was asked for');
    await expect(imports.open(record.sourceId, { excludedDisks: [] })).rejects.toMatchObject({ code: 'import.file-changed' });
    expect(Buffer.compare(await readFile(file), contents[1]!)).toBe(0);
  });
});
