import type { CycleAnswer } from '#libs/contracts/wire';
import { CodedError, retryDelayMs, SECOND_MS } from '#libs/kernel';
import { isReceiverOutage } from './cycle-errors.js';
import type { CycleServices } from './cycle-services.js';
import type { SegmentCarrier } from './segment-carrier.js';

const RETRY_DELAYS = { firstDelayMs: 500, delayMaxMs: 10 * SECOND_MS };

/** Bridges a receiver's absence with the same cycle while its snapshot exists: the receiver tells what is durable, the gaps are carried again. */
export async function carryThroughOutages(
  services: CycleServices,
  carrier: SegmentCarrier,
  opened: CycleAnswer,
  signal: AbortSignal,
): Promise<void> {
  const { api, clock, logger, outageMaxMs } = services;
  let lastProgressMs = clock.monotonicMs();
  for (let attempt = 1; ; attempt += 1) {
    const sentBefore = carrier.sentBytes;
    try {
      await carrier.run();
      return;
    } catch (error) {
      if (!isReceiverOutage(error) || signal.aborted) throw error;
      if (carrier.sentBytes > sentBefore) lastProgressMs = clock.monotonicMs();
      if (clock.monotonicMs() - lastProgressMs > outageMaxMs) throw error;
      logger.warn({ error, cycle: opened.cycle, attempt }, 'an upload was interrupted; it goes on where it stopped');
    }
    await untilReachable(services, lastProgressMs, signal, async () => {
      await api.renewLease(opened.id, signal);
      const status = await api.cycle(opened.id, signal);
      if (status.state !== 'open') throw new CodedError(`cycle.${status.state}`, 'conflict', `the cycle is ${status.state}`);
      carrier.resumeFrom(status.segments);
    });
  }
}

async function untilReachable(services: CycleServices, sinceMs: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (!isReceiverOutage(error) || services.clock.monotonicMs() - sinceMs > services.outageMaxMs) throw error;
      await services.clock.sleep(retryDelayMs(RETRY_DELAYS, attempt, error), signal);
    }
  }
}
