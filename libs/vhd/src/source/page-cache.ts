/** The pages of a table that were used last, so that a table may be as long as its disk is large. */
export class PageCache {
  private readonly pages = new Map<number, Buffer>();

  constructor(
    private readonly load: (page: number) => Promise<Buffer>,
    private readonly pagesMax: number,
  ) {}

  async get(page: number): Promise<Buffer> {
    const known = this.pages.get(page);
    if (known !== undefined) {
      this.pages.delete(page);
      this.pages.set(page, known);
      return known;
    }
    const bytes = await this.load(page);
    this.pages.set(page, bytes);
    if (this.pages.size > this.pagesMax) this.pages.delete(this.pages.keys().next().value!);
    return bytes;
  }
}
