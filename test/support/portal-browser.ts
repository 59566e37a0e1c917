import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { PASSWORD } from './api.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCREENSHOTS = join(ROOT, '.holdfast', 'screenshots');
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
/** Nothing of Chromium's own goes to the network. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const DESKTOP = { width: 1280, height: 860 };
const MOBILE = { width: 390, height: 844 };

export function launchBrowser(): Promise<Browser> {
  mkdirSync(SCREENSHOTS, { recursive: true });
  return chromium.launch({ executablePath: CHROMIUM ?? 'chromium', args: FLAGS });
}

export interface Tab {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What the browser complained of. */
  readonly complaints: string[];
}

export async function openTab(browser: Browser): Promise<Tab> {
  const context = await browser.newContext({ viewport: DESKTOP, colorScheme: 'light', reducedMotion: 'reduce', locale: 'en-GB' });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // That nobody is signed in yet is an answer, which the browser reports as an error of its own.
    const isAboutSignIn = message.location().url.includes('/api/v1/auth/') && message.text().includes('401');
    if (['error', 'warning'].includes(message.type()) && !isAboutSignIn) complaints.push(message.text());
  });
  return { context, page, complaints };
}

/** Wide and narrow, light and dark; nothing may be wider than the screen. */
export async function picture(page: Page, name: string): Promise<void> {
  // A dialog stands over what is in sight, not over the whole page.
  const fullPage = (await page.getByRole('dialog').count()) === 0;
  for (const [size, viewport] of [
    ['desktop', DESKTOP],
    ['mobile', MOBILE],
  ] as const) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(SCREENSHOTS, `${name}.${size}.${colorScheme}.png`), fullPage, animations: 'disabled' });
    }
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(overflow, `${name} fits a screen of ${viewport.width}`).toBeLessThanOrEqual(0);
  }
  await page.setViewportSize(DESKTOP);
  await page.emulateMedia({ colorScheme: 'light' });
}

export const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name }).waitFor();
export const text = async (page: Page): Promise<string> => (await page.locator('main').innerText()).replaceAll(/\s+/g, ' ');

export async function signIn(page: Page, who: { tenant?: string; email: string; password?: string }): Promise<void> {
  if (who.tenant === undefined) await page.getByRole('button', { name: 'Provider' }).click();
  else await page.getByLabel('Organisation').fill(who.tenant);
  await page.getByLabel('E-mail').fill(who.email);
  await page.getByLabel('Password').fill(who.password ?? PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** Something like the screen of a VM. */
export async function consolePicture(browser: Browser): Promise<Buffer> {
  const page = await browser.newPage({ viewport: { width: 720, height: 400 } });
  await page.setContent(
    '<body style="margin:0;background:#000;color:#bbb;font:16px/1.25 monospace;padding:8px">Debian GNU/Linux 12 sql-01 tty1<br><br>sql-01 login: _</body>',
  );
  const png = await page.screenshot();
  await page.close();
  return png;
}
