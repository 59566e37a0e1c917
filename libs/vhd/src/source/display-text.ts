const CHARACTERS_MAX = 255;
/** Control characters, and those that turn the direction of what follows. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;

/** A path or name out of a stranger's file, fit to be shown. It is never opened, nor compared with anything. */
export function displayText(text: string): string {
  return text.normalize('NFC').replace(UNSEEN, '').slice(0, CHARACTERS_MAX);
}
