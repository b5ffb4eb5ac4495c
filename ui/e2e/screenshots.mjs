// Draws the pictures of the documentation: docs/pictures/*.png. With names (`npm run screenshots -- monitor phone`) only those.
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { launch, node, status, withPage } from './browser.mjs';
import { EXPENSE, GREET, INVOICE, large, NIGHTLY, order, REPORT, SHARE } from './fixtures.mjs';
import { serve } from './server.mjs';

const OUT = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));
mkdirSync(OUT, { recursive: true });
const wanted = process.argv.slice(2);

/** Services that take their time; one is not there when it is asked for the first time, and one can be held up. */
const TAKES = { '/customer': 180, '/rates': 260, '/stock': 420, '/book': 350, '/bill': 150 };
let missed = false;
let booking = Promise.resolve();
const shop = createServer(async (request, response) => {
  const isMissing = request.url === '/rates' && !missed;
  missed ||= isMissing;
  if (request.url === '/book') await booking;
  setTimeout(() => response.writeHead(isMissing ? 503 : 200, { 'content-type': 'application/json' }).end('{}'), TAKES[request.url]);
});
await new Promise((resolve) => shop.listen(0, '127.0.0.1', resolve));
const at = `127.0.0.1:${shop.address().port}`;

const server = await serve(`components.egress.allow=["${at}"]`);
const browser = await launch();
try {
  const nightly = await server.workflow(NIGHTLY, {}, {});
  const invoice = await server.workflow(INVOICE, {}, {});
  const expense = await server.workflow(EXPENSE, { amount: 900 }, { amount: 40 });
  await server.workflow(REPORT);
  const greet = await server.workflow(GREET, ...Array.from({ length: 14 }, () => ({})));
  const broken = await server.workflow(SHARE, { guests: 0 }, { guests: 3 });
  const priced = await server.workflow(order(`http://${at}`), {});
  const some = await server.workflow(large(30));
  const many = await server.workflow(large(500));
  /** Takes the picture of a page when it is ready; of the part of it that `ready` answers with, if it does. */
  const draw = async (name, options, path, ready) => {
    if (wanted.length > 0 && !wanted.includes(name)) return;
    await withPage(browser, `picture ${name}`, { viewport: { width: 1280, height: 760 }, ...options }, async (page) => {
      await page.goto(server.base + path);
      const part = await ready(page);
      await page.waitForFunction(() => document.querySelector('.loading') === null);
      await (part ?? page).screenshot({ path: `${OUT}${name}.png` });
      console.log(`drew docs/pictures/${name}.png`);
    });
  };
  const ended = (id) => async (page) => {
    await page.goto(`${server.base}/executions/${id}`);
    await page.locator('.page-head .status', { hasText: /Completed|Failed/ }).waitFor();
  };

  await draw('designer', { viewport: { width: 1560, height: 820 } }, `/workflows/${nightly.id}/edit`, async (page) => {
    await node(page, 'regions').click();
    await page.getByText('No mistakes').waitFor();
  });
  await draw('designer-source', { colorScheme: 'dark' }, `/workflows/${expense.id}/edit`, async (page) => {
    await page.getByRole('button', { name: 'Show the source' }).click();
    await page.locator('.cm-line').first().waitFor();
    await node(page, 'ask').click();
    await page.getByText('No mistakes').waitFor();
    await page.mouse.move(0, 0);
  });
  await draw('schedule', {}, '/schedules', async (page) => {
    await page.getByRole('link', { name: 'quarters' }).click();
    await page.locator('ol.fires li').first().waitFor();
    await page.getByRole('button', { name: 'Backfill', exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('From').fill('2026-01-05T00:00');
    await dialog.getByLabel('To').fill('2026-01-05T08:00');
    await dialog.getByText('33 fires lie in this range.').waitFor();
    await dialog.getByLabel('Reason').fill('the report of Monday was wrong');
  });
  await draw('monitor', {}, `/executions/${nightly.executions[0]}`, async (page) => {
    await status(page, 'Completed');
    await node(page, 'done').getByText('Completed').waitFor();
  });
  await draw('failure', { colorScheme: 'dark' }, `/executions/${invoice.executions[0]}?task=refuse`, async (page) => {
    await node(page, 'refuse').getByText('Failed').waitFor();
  });
  await draw('approval', {}, `/executions/${expense.executions[0]}`, async (page) => {
    await page.getByRole('button', { name: 'Approve' }).waitFor();
  });
  await draw('workflows', {}, '/workflows', async (page) => {
    await page.locator('.strip').first().waitFor();
  });
  await draw('phone', { viewport: { width: 390, height: 780 } }, `/executions/${nightly.executions[0]}`, async (page) => {
    await status(page, 'Completed');
    await page.locator('.timeline-row').first().waitFor();
  });
  await draw('dashboard', { viewport: { width: 1280, height: 900 } }, '/dashboard?range=1h', async (page) => {
    // What it counts has ended.
    await ended(nightly.executions[1])(page);
    await ended(broken.executions[1])(page);
    await page.goto(`${server.base}/dashboard?range=1h`);
    await page.locator('.chart-box canvas').nth(2).waitFor();
    await page.getByText(/slots taken/).waitFor();
    await page.getByRole('button', { name: 'No, thanks' }).or(page.getByText('All failed ones')).first().waitFor();
  });
  await draw('first-minute', {}, '/dashboard', async (page) => {
    await page.evaluate((id) => localStorage.setItem('apg.first-minute', id), broken.id);
    await page.goto(`${server.base}/executions/${broken.executions[0]}`);
    await status(page, 'Failed');
    await page.getByRole('complementary', { name: 'The first minute' }).waitFor();
    await node(page, 'thanks').getByText('Skipped').waitFor();
  });
  await draw('time-travel', {}, `/executions/${nightly.executions[0]}?tab=journal&at=4`, async (page) => {
    await page.locator('.travel.is-past').waitFor();
    await page.locator('.turn.is-shown').waitFor();
    await node(page, 'begin').getByText('Completed').waitFor();
  });
  await draw('try', { viewport: { width: 1280, height: 820 } }, `/workflows/${greet.id}/edit`, async (page) => {
    await node(page, 'words').click();
    await page.keyboard.press('Control+Enter');
    const panel = page.getByRole('region', { name: 'Try' });
    await panel.locator('.try-head .status', { hasText: 'Completed' }).waitFor();
    await panel.getByRole('button', { name: 'Pin this output' }).click();
    await node(page, 'say').click();
    await page.keyboard.press('Control+Shift+Enter');
    await node(page, 'words').getByText('Pinned').waitFor();
    await panel.locator('.try-head .status', { hasText: 'Completed' }).waitFor();
    await panel.getByRole('tab', { name: 'Plan' }).click();
    await panel.locator('.try-plan .is-pinned').waitFor();
    await page.locator('.notice').waitFor({ state: 'detached' });
  });
  await draw('designer-dark', { viewport: { width: 1560, height: 820 }, colorScheme: 'dark' }, `/workflows/${nightly.id}/edit`, async (page) => {
    await node(page, 'fetch').click();
    await page.getByText('No mistakes').waitFor();
  });
  await draw('designer-empty', {}, '/workflows/new', async (page) => {
    await page.getByText('Add the first component').waitFor();
  });
  await draw('designer-thirty', {}, `/workflows/${some.id}/edit`, async (page) => {
    await node(page, 'c29').waitFor();
    await page.getByText('No mistakes').waitFor();
  });
  await draw('designer-large', {}, `/workflows/${many.id}/edit`, async (page) => {
    await page.getByRole('img', { name: /^Overview of 500 components/ }).waitFor();
    await page.getByText('No mistakes').waitFor();
  });
  await draw('timeline', { viewport: { width: 1280, height: 1000 } }, `/executions/${priced.executions[0]}`, async (page) => {
    await status(page, 'Completed');
    await page.locator('.timeline-row', { hasText: 'confirm' }).waitFor();
    return page.locator('.monitor-tabs');
  });
  let book;
  booking = new Promise((resolve) => (book = resolve));
  const live = await server.api('POST', `/workflows/${priced.id}/execute`, { parameters: {} });
  await draw('live', {}, `/executions/${live.id}`, async (page) => {
    await status(page, 'Running');
    await node(page, 'book').getByText('Running').waitFor();
    await page.locator('.timeline-row', { hasText: 'book' }).waitFor();
  });
  book();
  await draw('logs', { viewport: { width: 1280, height: 1000 } }, `/executions/${nightly.executions[0]}?tab=logs`, async (page) => {
    await status(page, 'Completed');
    await page.locator('.log-line', { hasText: 'no space left' }).first().waitFor();
    return page.locator('.monitor-tabs');
  });
  await draw('together', { viewport: { width: 1280, height: 760 } }, `/workflows/${greet.id}/edit`, async (page) => {
    const other = await page.context().newPage();
    await other.goto(`${server.base}/workflows/${greet.id}/edit`);
    await node(other, 'say').click();
    for (const [each, name] of [[page, 'Grace'], [other, 'Ada']]) {
      await each.getByRole('list', { name: 'Also here' }).waitFor();
      const own = each.getByRole('textbox', { name: 'Your name, as others see it' });
      await own.fill(name);
      await own.press('Enter');
    }
    await page.getByRole('list', { name: 'Also here' }).getByText('Ada').waitFor();
    const place = await node(other, 'say').boundingBox();
    await other.mouse.move(place.x + 60, place.y + 110);
    await page.locator('.person-ring[data-id="say"]').waitFor();
    await page.bringToFront();
    await node(page, 'words').click();
    await page.locator('.person-pointer').waitFor();
  });
  // The last of this workflow: what is typed here is a mistake in its draft.
  await draw('designer-inside', {}, `/workflows/${nightly.id}/edit`, async (page) => {
    await node(page, 'careful').dblclick({ position: { x: 60, y: 20 } });
    await page.getByRole('navigation', { name: 'Where you are' }).waitFor();
    await node(page, 'remember').click();
    const field = page.getByLabel('Message', { exact: false }).first();
    await field.fill('');
    await field.pressSequentially('Not published: ${{ components.reg');
    await page.getByRole('listbox', { name: 'References' }).waitFor();
  });
} finally {
  await browser.close();
  await server.stop();
  shop.close();
}
