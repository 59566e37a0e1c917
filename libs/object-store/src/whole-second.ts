/** The first full second that is not before `time`: some stores keep no fractions, and a lock must not end early. */
export function wholeSecond(time: Date): Date {
  return new Date(Math.ceil(time.getTime() / 1000) * 1000);
}
