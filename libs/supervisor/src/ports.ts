import { readFileSync, writeFileSync } from 'node:fs';
import { assertPortFree, freePort, isPortFree } from './free-port.js';

/**
 * Chooses ports and remembers them in a file, so that what others were told (agents keep a receiver's address) stays true over
 * restarts as long as nobody else took the port.
 */
export class RememberedPorts {
  private readonly ports: Map<string, number>;

  constructor(private readonly file: string) {
    this.ports = new Map(Object.entries(readPorts(file)));
  }

  /** `wanted` when given (throws `listen.port-taken`), else the one of last time, else any free one. */
  async choose(name: string, host: string, wanted?: number): Promise<number> {
    if (wanted !== undefined) await assertPortFree(wanted, host, name);
    const last = this.ports.get(name);
    const port = wanted ?? (last !== undefined && (await isPortFree(last, host)) ? last : await freePort(host));
    this.ports.set(name, port);
    writeFileSync(this.file, `${JSON.stringify(Object.fromEntries(this.ports), null, 2)}\n`);
    return port;
  }
}

/** A lost or damaged file costs nothing but other ports. */
function readPorts(file: string): Record<string, number> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
  } catch {
    return {};
  }
}
