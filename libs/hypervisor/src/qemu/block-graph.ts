import { isOurs } from './names.js';
import type { Qmp } from './qmp.js';

interface BlockEntry {
  readonly qdev?: string;
  readonly removable: boolean;
  readonly inserted?: { readonly 'node-name': string; readonly ro: boolean };
}

interface NamedNode {
  readonly 'node-name': string;
  readonly drv: string;
  readonly image: { readonly 'virtual-size': number; readonly filename: string };
  readonly 'dirty-bitmaps'?: readonly { readonly name?: string; readonly recording: boolean }[];
}

interface Graph {
  readonly nodes: readonly { readonly id: number; readonly type: string; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly name: string }[];
}

export interface BitmapState {
  readonly name: string;
  /** Writes are being marked now. */
  readonly isRecording: boolean;
}

/** A disk as QEMU has it: the device the guest sees, and the node that holds its bytes. */
export interface QemuDisk {
  readonly ordinal: number;
  readonly deviceId: string;
  /** Where the device's properties are. */
  readonly devicePath: string;
  /** Where the device's `drive` property is: of a virtio disk, one level down. */
  readonly drivePath: string;
  readonly deviceType: string;
  /** The node with the disk's format, whatever filter of ours stands above it. */
  readonly nodeName: string;
  /** What the device is joined to right now: the node, or a filter of ours. */
  readonly attachedName: string;
  readonly format: string;
  readonly sizeBytes: number;
  readonly bitmaps: readonly BitmapState[];
}

/** The disks of a VM, in the order in which QEMU has them. Not disks: CD and floppy drives, read-only images, firmware. */
export async function findDisks(qmp: Qmp): Promise<QemuDisk[]> {
  const [blocks, nodes, graph] = await Promise.all([
    qmp.command<BlockEntry[]>('query-block'),
    qmp.command<NamedNode[]>('query-named-block-nodes', { flat: true }),
    qmp.command<Graph>('x-debug-query-block-graph'),
  ]);
  const nodesByName = new Map(nodes.map((node) => [node['node-name'], node]));
  const disks: QemuDisk[] = [];
  for (const { qdev, removable, inserted } of blocks) {
    if (qdev === undefined || inserted === undefined || removable || inserted.ro) continue;
    const drivePath = qdev.startsWith('/') ? qdev : `/machine/peripheral/${qdev}`;
    const devicePath = drivePath.replace(/\/virtio-backend$/, '');
    const deviceType = await qmp.command<string>('qom-get', { path: devicePath, property: 'type' });
    if (deviceType.startsWith('cfi.pflash')) continue;
    const nodeName = belowOurs(inserted['node-name'], graph);
    const node = nodesByName.get(nodeName);
    if (node === undefined) continue;
    disks.push({
      ordinal: disks.length,
      deviceId: devicePath.replace(/^\/machine\/(peripheral\/)?/, ''),
      devicePath,
      drivePath,
      deviceType,
      nodeName,
      attachedName: inserted['node-name'],
      format: node.drv,
      sizeBytes: node.image['virtual-size'],
      bitmaps: (node['dirty-bitmaps'] ?? []).flatMap(({ name, recording }) =>
        name !== undefined && isOurs(name) ? [{ name, isRecording: recording }] : [],
      ),
    });
  }
  return disks;
}

/** Names of the nodes of ours, whichever disk they belong to. */
export async function findOurNodes(qmp: Qmp): Promise<string[]> {
  const nodes = await qmp.command<NamedNode[]>('query-named-block-nodes', { flat: true });
  return nodes.map((node) => node['node-name']).filter(isOurs);
}

function belowOurs(name: string, { nodes, edges }: Graph): string {
  let current = name;
  while (isOurs(current)) {
    const parent = nodes.find((node) => node.type === 'block-driver' && node.name === current)?.id;
    const childId = edges.find((edge) => edge.parent === parent && edge.name === 'file')?.child;
    const child = nodes.find((node) => node.id === childId)?.name;
    if (child === undefined) return current;
    current = child;
  }
  return current;
}
