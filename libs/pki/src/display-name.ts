import { CodedError } from '#libs/kernel';

const DISPLAY_NAME_LENGTH_MAX = 255;
/** Controls, format characters (direction overrides among them), lone surrogates, line and paragraph separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/**
 * The name a tenant's machine or disk is shown under: NFC, 1–255 code units, printable. It is data for eyes only; no path, key or
 * query is ever made of it. Throws `display-name.malformed`.
 */
export function asDisplayName(text: string): string {
  // Normalising may lengthen a text, by less than four times; cut what cannot fit before spending time on it.
  const name = text.length > DISPLAY_NAME_LENGTH_MAX * 4 ? '' : text.normalize('NFC').trim();
  if (name.length === 0 || name.length > DISPLAY_NAME_LENGTH_MAX || UNPRINTABLE.test(name.replaceAll('\u200d', ''))) {
    throw new CodedError('display-name.malformed', 'invalid', `a name has 1 to ${DISPLAY_NAME_LENGTH_MAX} printable characters`);
  }
  return name;
}
