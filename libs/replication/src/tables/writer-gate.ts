import type { ChainState, Writer } from '#libs/chain';
import type { Tx } from '#libs/platform';

/** What a writer is about to do to a chain. */
export type WriterAct = 'open' | 'commit';

/**
 * What must hold beside the chain's own rules before anything is opened or acknowledged: the relationship's mode and state,
 * the writer's standing and its authorization. Runs in the deciding transaction, before the chain's row is locked, and
 * locks the relationship. Throws what the writer is to be told.
 */
export abstract class WriterGate {
  abstract check(tx: Tx, chain: ChainState, writer: Writer, act: WriterAct): Promise<void>;
}

/** For chains without a relationship: in the contract suite. */
export class OpenGate extends WriterGate {
  override async check(_tx: Tx, _chain: ChainState, _writer: Writer, _act: WriterAct): Promise<void> {}
}
