/** The name of the copy that was made of a disk while the snapshot of a recovery point existed. */
export function copyOf(cycle: string, diskOrdinal: number): string {
  return `${cycle}-disk${diskOrdinal}.raw`;
}
