// The first minute of README.md, done as it is written there: what is bold is pressed, chosen, filled in or read by that very
// name, and what is slanted is a component that is clicked. A name that is not on the page fails, so the text and the pages stay together.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { accessible, fits, launch, status, withPage } from './browser.mjs';
import { serveAs, signIn } from './server.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const file = (name) => readFileSync(ROOT + name, 'utf8');
/** What the README promises; a slow machine is given no more. */
const MINUTE = 60_000;

/** The numbered items of the section, each in one line. */
function items() {
  const section = /^### The first minute\n([\s\S]*?)^###? /m.exec(file('README.md'))?.[1] ?? '';
  return section
    .split(/^\d+\. /m)
    .slice(1)
    .map((item) => item.replace(/\s+/g, ' ').trim());
}

/** What the first item says is typed in a terminal, as `make` carries it out: what follows the name of the program. */
function command(item) {
  const target = /^`make (\w+)`/.exec(item)?.[1];
  const rule = new RegExp(`^${target}:[^\\n]*\\n((?:\\t.*\\n)+)`, 'm').exec(file('Makefile'))?.[1] ?? '';
  return /--bin apg -- (.+)/.exec(rule)?.[1]?.split(' ');
}

let server;
let browser;
before(async () => {
  const [role, ...args] = command(items()[0]) ?? [];
  assert.equal(role, 'serve', 'the first item names a target of the Makefile that serves');
  [server, browser] = await Promise.all([serveAs({ args, cwd: ROOT, hasOwner: false }), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Presses, chooses or fills in what has a name: in the dialog, while there is one. */
async function act(page, name, value) {
  const dialog = page.getByRole('dialog');
  const within = (await dialog.count()) > 0 ? dialog : page;
  if (value !== undefined) {
    const secret = page.getByLabel(name, { exact: true }).and(page.locator('[type=password]'));
    return page.getByRole('textbox', { name, exact: true }).or(page.getByRole('spinbutton', { name, exact: true })).or(secret).fill(value);
  }
  const of = (role) => within.getByRole(role, { name, exact: true });
  const pressed = of('button').or(of('link'));
  const control = pressed.or(of('heading')).or(within.locator('label').getByText(name, { exact: true }));
  await control.first().waitFor();
  // A heading may say the same as the button below it.
  return ((await pressed.count()) > 0 ? pressed : control).first().click();
}

test('the first minute is as the README says', () =>
  withPage(browser, 'first minute', { isSignedIn: false }, async (page) => {
    const all = items();
    assert.equal(all.length, 5, 'the section has its five items');
    const guide = page.getByRole('complementary', { name: 'The first minute' });
    const began = performance.now();
    await page.goto(server.ownerLink);
    for (const item of all) {
      let typed;
      for (const { groups } of item.matchAll(/\*\*(?<bold>.+?)\*\*(?<colon>:)?|`(?<code>.+?)`|\*(?<slanted>.+?)\*/g)) {
        if (groups.code) typed = groups.code;
        else if (groups.slanted) await page.locator('.react-flow__node', { hasText: groups.slanted }).click();
        else if (groups.colon) await guide.locator('[aria-current="step"]', { hasText: groups.bold }).waitFor();
        else {
          await act(page, groups.bold, typed);
          typed = undefined;
        }
      }
      await page.getByRole('dialog').waitFor({ state: 'detached' });
      if (/turns green/.test(item)) await status(page, 'Completed');
      if (/it fails/.test(item)) await status(page, 'Failed');
      await accessible(page, item.slice(0, 20));
    }
    const took = performance.now() - began;
    assert.ok(took < MINUTE, `it took ${Math.round(took / 1_000)} s`);
    await guide.getByText('That was all').waitFor();

    // It is led away by its own button, and does not come back.
    await page.setViewportSize({ width: 320, height: 780 });
    await fits(page, 'the card of the first minute');
    await guide.getByRole('button', { name: 'Close the first minute' }).click();
    await guide.waitFor({ state: 'detached' });
    await page.goto(`${server.base}/dashboard`);
    await page.locator('.figure', { hasText: 'Accepted' }).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Run the sample' }).count(), 0);
  }));

test('an installation without anything offers the sample, and somebody without interest is not asked again', () =>
  withPage(browser, 'not interested', { isSignedIn: false }, async (page) => {
    const [, name, password] = [...items()[0].matchAll(/`(.+?)`/g)].map(([, code]) => code);
    await page.context().addCookies([await signIn(server.url, '/auth/login', { name, password })]);
    await page.goto(`${server.base}/dashboard`);
    await page.getByRole('button', { name: 'Run the sample' }).waitFor();
    await accessible(page, 'the offer of the first minute');
    await page.getByRole('button', { name: 'No, thanks' }).click();
    await page.getByRole('button', { name: 'Run the sample' }).waitFor({ state: 'detached' });
    await page.reload();
    await page.locator('.figure', { hasText: 'Accepted' }).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Run the sample' }).count(), 0);
  }));
