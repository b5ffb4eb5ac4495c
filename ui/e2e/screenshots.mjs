// Draws the pictures of the documentation: docs/pictures/*.png.
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { launch, withPage } from './browser.mjs';
import { EXPENSE, INVOICE, NIGHTLY, REPORT } from './fixtures.mjs';
import { serve } from './server.mjs';

const OUT = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));
mkdirSync(OUT, { recursive: true });

const server = await serve();
const browser = await launch();
try {
  const nightly = await server.workflow(NIGHTLY, {}, {});
  const invoice = await server.workflow(INVOICE, {}, {});
  const expense = await server.workflow(EXPENSE, { amount: 900 }, { amount: 40 });
  await server.workflow(REPORT);
  const node = (page, id) => page.locator(`.react-flow__node[data-id="${id}"]`);
  const draw = (name, options, path, ready) =>
    withPage(browser, `picture ${name}`, { viewport: { width: 1280, height: 760 }, ...options }, async (page) => {
      await page.goto(server.base + path);
      await ready(page);
      await page.waitForFunction(() => document.querySelector('.loading') === null);
      await page.screenshot({ path: `${OUT}${name}.png` });
      console.log(`drew docs/pictures/${name}.png`);
    });

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
  await draw('designer-inside', {}, `/workflows/${nightly.id}/edit`, async (page) => {
    await node(page, 'careful').dblclick({ position: { x: 60, y: 20 } });
    await page.getByRole('navigation', { name: 'Where you are' }).waitFor();
    await node(page, 'remember').click();
    const field = page.getByLabel('Message', { exact: false }).first();
    await field.fill('');
    await field.pressSequentially('Not published: ${{ components.reg');
    await page.getByRole('listbox', { name: 'References' }).waitFor();
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
    await page.locator('.page-head .status', { hasText: 'Completed' }).waitFor();
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
    await page.locator('.page-head .status', { hasText: 'Completed' }).waitFor();
    await page.locator('.timeline-row').first().waitFor();
  });
} finally {
  await browser.close();
  await server.stop();
}
