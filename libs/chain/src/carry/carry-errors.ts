import { CodedError, type PlatformError } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';

export function sourceDamaged(name: string, cause?: unknown): PlatformError {
  return corrupt('carry.source-damaged', 'an object cannot be carried on: it is damaged or missing at the source', { object: name }, cause);
}

export function failedOver(fence: string): PlatformError {
  return new CodedError('carry.failed-over', 'conflict', 'this chain was failed over at the third site, and goes on there', { fence });
}

export function copyDamaged(name: string, cause?: unknown): PlatformError {
  return corrupt(
    'carry.copy-damaged',
    'the third site holds other bytes under this name: delete the object there',
    { object: name },
    cause,
  );
}
