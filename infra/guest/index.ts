/** A tiny real Linux guest for the demo and the tests, and what is needed to check what it wrote. */
export { buildGuest, GUEST_LAYOUT, type BuildGuestOptions, type BuiltGuest } from './build-guest.js';
export { newestTick, parseConsole, readGuestCounters, type GuestBoot, type GuestCounters, type GuestTick } from './read-guest.js';
export { startGuest, type RunningGuest, type StartGuestOptions } from './start-guest.js';
