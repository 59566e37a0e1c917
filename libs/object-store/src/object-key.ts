import { CodedError } from '#libs/kernel';

export const OBJECT_KEY_LENGTH_MAX = 512;

const KEY_CHARACTERS = /^[a-z0-9._/-]*$/;

/** Throws `object.key-invalid` unless `key` can name an object in every store. Parts that begin with a dot belong to the stores themselves. */
export function assertObjectKey(key: string): void {
  const isValid =
    key.length <= OBJECT_KEY_LENGTH_MAX &&
    KEY_CHARACTERS.test(key) &&
    key.split('/').every((part) => part.length > 0 && part.length <= 255 && !part.startsWith('.'));
  if (!isValid) throw keyInvalid(key);
}

/** A prefix is the beginning of a key, cut anywhere. */
export function assertKeyPrefix(prefix: string): void {
  const parts = prefix.split('/');
  const whole = parts.slice(0, -1);
  const isValid =
    prefix.length <= OBJECT_KEY_LENGTH_MAX &&
    KEY_CHARACTERS.test(prefix) &&
    whole.every((part) => part.length > 0 && !part.startsWith('.')) &&
    !parts.at(-1)!.startsWith('.');
  if (!isValid) throw keyInvalid(prefix);
}

function keyInvalid(key: string): CodedError {
  const shown = key.slice(0, OBJECT_KEY_LENGTH_MAX);
  return new CodedError('object.key-invalid', 'invalid', `not an object key: ${JSON.stringify(shown)}`, { key: shown });
}
