import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import type { UnpinnedKind } from './unpinned-objects.js';

export type ScrubbedKind = 'segment' | 'manifest' | 'list' | 'index' | 'snapshot' | UnpinnedKind;

/** When an object was last found to be what it must be. */
export interface Verification {
  /** Below the chain's prefix; with a slash before it where it is one of the whole store. */
  readonly name: string;
  /** What it held then, where no reference says what it must hold: only for what no reference pins. */
  readonly sha256: string | null;
}

export interface DueVerification extends Verification {
  /** Whether its time has come; those behind it only serve as samples. */
  readonly isDue: boolean;
}

/** An object that is not what it must be, or is gone. It is in quarantine: what shows it is not to be used without a word. */
export interface Damage {
  readonly name: string;
  readonly kind: ScrubbedKind;
  /** Of the layer whose document it is; null for what is of no single layer. */
  readonly layer: bigint | null;
  readonly code: string;
  readonly message: string;
  /** Cycles of the kept positions that show something of it or cannot be opened without it, as of the newest cycle looked at. */
  readonly positions: readonly bigint[];
  /** The newest cycle of the lineage that was looked at; a later one is as damaged as what it stands on. */
  readonly assessedTo: bigint;
  /** Blocks that the position at `assessedTo` shows of it, for a writer to send again, whole. */
  readonly blocks: readonly DamagedBlocks[];
}

export interface DamagedBlocks {
  readonly disk: number;
  readonly block: number;
  readonly count: number;
}

/**
 * What is known about the soundness of a chain's objects. Its times are the catalogue's. Each method is one transaction and may be repeated;
 * losing all of it costs reading again, nothing else.
 */
export abstract class ScrubLedger {
  /** Names of what no reference pins and must be there: wrapped keys that were taken in, and all else of it that was found sound before. */
  abstract unpinned(address: ChainAddress): Promise<string[]>;

  /**
   * Takes notice of all objects that there are: new ones count as verified now (who stored them checked their hash), others are forgotten. Gives first
   * what no reference pins and nobody looked at yet, for what it holds then is all that it is compared with; then those that were verified longest ago, oldest first; at
   * most `limit`. Due is the former, and what was not verified for `everyMs`, or since somebody asked for all.
   */
  abstract due(
    address: ChainAddress,
    names: readonly string[],
    limits: { readonly everyMs: number; readonly limit: number },
  ): Promise<DueVerification[]>;

  abstract recordVerified(address: ChainAddress, verified: readonly Verification[]): Promise<void>;

  abstract damages(address: ChainAddress): Promise<Damage[]>;

  /** Notes it, or what is known better about it; the first time somebody is told. */
  abstract recordDamage(address: ChainAddress, damage: Damage): Promise<void>;

  /** The object is sound again, or nothing refers to it any more. */
  abstract endDamage(address: ChainAddress, name: string): Promise<void>;
}
