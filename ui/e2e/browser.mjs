// The system's Chromium, and pages that fail a test on any error of script, console, policy or server.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

import { cookies } from './server.mjs';

const OUT = fileURLToPath(new URL('out', import.meta.url));
const QUIET = [
  '--no-sandbox', // Checks run as root in containers; only our own pages are opened.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function executable() {
  if (process.env.CHROMIUM_PATH) return process.env.CHROMIUM_PATH;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    } catch {
      // The next name, then.
    }
  }
  throw new Error("no Chromium: install it with 'apt-get install chromium', or name one in CHROMIUM_PATH");
}

export function launch() {
  return chromium.launch({ executablePath: executable(), args: QUIET });
}

/** What the browser writes down and is expected: a workflow without a draft, a draft that was overtaken, a try without data, and no network. */
const EXPECTED = [
  { said: /404/, of: /\/draft$/ },
  { said: /412/, of: /\/draft$/ },
  { said: /422/, of: /\/try$/ },
  { said: /ERR_INTERNET_DISCONNECTED/, of: /\/api\// },
];

/**
 * Runs a test in a page of its own, which is signed in unless `isSignedIn` is false. A screenshot is kept when it fails.
 * `expected` are further errors that the browser writes down.
 */
export async function withPage(browser, name, { isSignedIn = true, expected = [], ...options }, test) {
  const context = await browser.newContext({
    viewport: { width: 1360, height: 820 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
    ...options,
  });
  context.setDefaultTimeout(15_000);
  if (isSignedIn) await context.addCookies(cookies());
  const errors = [];
  context.on('weberror', (error) => errors.push(`script: ${error.error().message}`));
  context.on('console', (message) => {
    if (message.type() !== 'error') return;
    const at = message.location().url ?? '';
    if ([...EXPECTED, ...expected].some(({ said, of }) => said.test(message.text()) && of.test(at))) return;
    errors.push(`console: ${message.text()} (${at})`);
  });
  context.on('response', (response) => {
    if (response.status() >= 500) errors.push(`${response.status()} ${response.url()}`);
  });
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  try {
    await test(page);
    assert.deepEqual(errors, []);
  } catch (error) {
    mkdirSync(OUT, { recursive: true });
    await page.screenshot({ path: `${OUT}/${name.replace(/[^a-z0-9]+/gi, '-')}.png` });
    if (errors.length > 0 && !(error instanceof assert.AssertionError && error.actual === errors)) error.message += `\n${errors.join('\n')}`;
    throw error;
  } finally {
    await context.close();
  }
}

/** Fails on findings that keep somebody from using the page. */
export async function accessible(page, where) {
  // Evaluated by the debugger, which the page's policy does not concern.
  await page.evaluate(axe.source);
  const found = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  const serious = found.violations
    .filter((each) => each.impact === 'serious' || each.impact === 'critical')
    .map((each) => `${where}: ${each.id}: ${each.help}: ${each.nodes.slice(0, 4).map((node) => `${node.target.join(' ')} ${node.any[0]?.message ?? ''}`).join(' | ')}`);
  assert.deepEqual(serious, []);
}

/** Fails when the page is wider than the window. */
export async function fits(page, where) {
  const wide = await page.evaluate(() => ({
    page: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth),
    window: innerWidth,
  }));
  assert.ok(wide.page <= wide.window, `${where} is ${wide.page} wide in a window of ${wide.window}`);
}

/** A component on the canvas. */
export const node = (page, id) => page.locator(`.react-flow__node[data-id="${id}"]`);

/** Waits until an execution stands as a word says. */
export const status = (page, word, timeout = 20_000) => page.locator('.page-head .status', { hasText: word }).waitFor({ timeout });
