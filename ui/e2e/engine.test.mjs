// What people do that depends on the shape of the engine behind the pages: what is started, watched live, asked of people,
// and done again goes through the database, the broker and the live events. These journeys run in one process and in a cluster
// (`APG_SHAPE`), as do those of together.test.mjs. The others (journeys.test.mjs, first-minute.test.mjs) run in one process:
// what they look at is drawn from the same answers of the same API, and twice would be minutes more for nothing new.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { accessible, launch, node, status, withPage } from './browser.mjs';
import { EXPENSE, GREET, INVOICE, SHARE, THOUSAND } from './fixtures.mjs';
import { OWNER, serve, shape } from './server.mjs';

let server;
let browser;
let invoice;
let expense;

before(async () => {
  [server, browser] = await Promise.all([serve(), launch()]);
  invoice = await server.workflow(INVOICE, {});
  expense = await server.workflow(EXPENSE, { amount: 900 }, { amount: 500 });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const journey = (name, options, run) => test(`${name} (${shape()})`, () => withPage(browser, name, options, run));
const open = (page, path) => page.goto(server.base + path);

journey('from an empty canvas to an execution that completes, without a mouse', {}, async (page) => {
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'Dashboard' }).waitFor();
  await page.getByRole('link', { name: 'New workflow' }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('Add the first component').waitFor();

  // Three components, one after the other, each found by typing.
  for (const [query, id] of [
    ['variables', 'set_variables'],
    ['sleep', 'delay'],
    ['log', 'log'],
  ]) {
    await page.locator('#main').focus();
    await page.keyboard.press('/');
    await page.getByRole('dialog', { name: 'Add a component' }).waitFor();
    await page.keyboard.type(query);
    await page.keyboard.press('Enter');
    await node(page, id).waitFor();
  }
  assert.equal(await page.locator('.react-flow__edge').count(), 2);

  // The name of the workflow stands in the settings when nothing is selected.
  await page.locator('#main').focus();
  await page.keyboard.press('Escape');
  const name = page.getByRole('textbox', { name: 'Name' });
  await name.fill('drawn-by-hand');
  await node(page, 'delay').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'delay' }).waitFor();
  await page.getByLabel('For', { exact: true }).fill('500ms');
  await page.getByText('No mistakes').waitFor();

  await page.getByRole('button', { name: 'Publish' }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('version 1', { exact: true }).waitFor();
  await page.getByRole('button', { name: /^Execute/ }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Execute version 1' }).click();

  await page.locator('h1', { hasText: 'drawn-by-hand' }).waitFor();
  await status(page, 'Completed');
  for (const id of ['set_variables', 'delay', 'log']) await node(page, id).getByText('Completed').waitFor();
  await page.getByRole('tab', { name: 'Timeline' }).waitFor();
  assert.equal(await page.locator('.timeline-row').count(), 3);
});

journey('a component is tried with what comes before it, and what that gave is pinned', {}, async (page) => {
  const { id } = await server.workflow(GREET.replace('name: greet', 'name: tried'));
  await open(page, `/workflows/${id}/edit`);
  await node(page, 'say').click();
  await page.keyboard.press('Control+Enter');
  const panel = page.getByRole('region', { name: 'Try' });
  await panel.locator('.try-head .status', { hasText: 'Completed' }).waitFor({ timeout: 20_000 });
  for (const each of ['words', 'say']) await node(page, each).getByText('Completed').waitFor();
  await accessible(page, 'a try');
  await panel.getByRole('tab', { name: 'Log' }).click();
  await panel.locator('.log-line', { hasText: 'Hello, world!' }).waitFor();

  // What another component gave is shown when it is selected, and is pinned.
  await node(page, 'words').click();
  await panel.getByRole('tab', { name: 'What words gave' }).click();
  await panel.getByLabel('output', { exact: true }).getByText('Hello, world!').waitFor();
  await panel.getByRole('button', { name: 'Pin this output' }).click();
  await node(page, 'words').getByTitle(/Its data is pinned/).waitFor();
  await panel.getByRole('tab', { name: 'Pinned data' }).click();
  const field = panel.getByLabel('Output, as JSON');
  await field.fill('{ "text": ');
  await panel.getByRole('button', { name: 'Keep' }).click();
  await panel.getByText(/That is not JSON/).waitFor();
  await field.fill('{ "text": "Hello, pin!" }');
  await panel.getByRole('button', { name: 'Keep' }).click();
  await accessible(page, 'pinned data');

  // Pins survive a reload, are what expressions show, and are not in the document.
  await page.reload();
  await node(page, 'words').getByTitle(/Its data is pinned/).waitFor();
  await node(page, 'say').click();
  await page.getByLabel('Message', { exact: false }).first().focus();
  await page.getByLabel('With the last execution').getByText('Hello, pin!').waitFor();
  assert.doesNotMatch((await server.api('GET', `/workflows/${id}`)).definition, /Hello, pin!/);

  await page.keyboard.press('Control+Shift+Enter');
  await panel.locator('.try-head .status', { hasText: 'Completed' }).waitFor({ timeout: 20_000 });
  await node(page, 'words').getByText('Pinned').waitFor();
  await panel.getByRole('tab', { name: 'Log' }).click();
  await panel.locator('.log-line', { hasText: 'Hello, pin!' }).waitFor();
  await panel.getByRole('tab', { name: 'Plan' }).click();
  await panel.locator('.try-plan .is-pinned', { hasText: 'words' }).waitFor();
  await panel.getByRole('link', { name: /^Execution/ }).click();
  await status(page, 'Completed');
});

journey('the first failure is on the first screen', {}, async (page) => {
  await open(page, `/executions/${invoice.executions[0]}`);
  await status(page, 'Failed');
  await page.locator('.banner.is-failure', { hasText: 'The lines add up to 110' }).waitFor();
  await node(page, 'refuse').getByText('Failed').waitFor();
  await node(page, 'book').getByText('Skipped').waitFor();
  await node(page, 'refuse').click();
  await page.locator('.detail', { hasText: 'user.sum' }).waitFor();
  assert.match(page.url(), /task=refuse/);
  await page.getByRole('tab', { name: 'Logs' }).click();
  await page.locator('.log-line').first().waitFor();
  await page.getByRole('tab', { name: 'Journal' }).click();
  await page.locator('.turn-event', { hasText: 'accepted' }).waitFor();
  await page.goBack();
});

journey('an execution is seen as it was at any moment, and the link carries that', {}, async (page) => {
  await open(page, `/executions/${invoice.executions[0]}?tab=journal`);
  await status(page, 'Failed');
  const slider = page.getByRole('slider', { name: 'Moment of the execution' });
  await slider.focus();
  await page.keyboard.press('Home');
  await page.waitForURL(/at=1\b/);
  await node(page, 'refuse').getByText('Waiting').waitFor();
  assert.equal(await page.locator('.banner.is-failure').count(), 0);
  await page.keyboard.press('ArrowRight');
  await page.waitForURL(/at=2\b/);
  await page.locator('.turn.is-shown .turn-number', { hasText: /^2$/ }).waitFor();
  await accessible(page, 'a moment of the past');

  await page.reload();
  await page.locator('.travel.is-past', { hasText: 'Turn 2 of' }).waitFor();
  await node(page, 'refuse').getByText('Waiting').waitFor();
  await node(page, 'refuse').click();
  await page.locator('.detail .status', { hasText: 'Waiting' }).waitFor();
  await page.locator('.detail', { hasText: 'It has not begun.' }).waitFor();

  await page.getByRole('button', { name: 'Play the journal' }).click();
  await status(page, 'Failed');
  await page.getByRole('button', { name: /^Back to now/ }).click();
  await page.waitForURL((url) => !url.searchParams.has('at'));
  await node(page, 'refuse').getByText('Failed').waitFor();
});

journey('what failed is done again, and what completed is kept', {}, async (page) => {
  await open(page, `/executions/${invoice.executions[0]}`);
  await status(page, 'Failed');
  await page.getByRole('button', { name: 'Retry' }).click();
  const plan = page.locator('.retry-plan');
  await plan.locator('.is-kept', { hasText: 'read' }).waitFor();
  await plan.locator('.is-again', { hasText: 'refuse' }).waitFor();
  await page.getByText('Everything', { exact: true }).click();
  await plan.locator('.is-again', { hasText: 'read' }).waitFor();
  await page.getByText('What failed', { exact: true }).click();
  await plan.locator('.is-kept', { hasText: 'read' }).waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Retry' }).click();
  await page.locator('.banner', { hasText: 'Does …' }).waitFor();
  await status(page, 'Failed');
  await node(page, 'read').getByText('Completed').waitFor();
  await node(page, 'sums').click();
  await page.getByRole('button', { name: 'Again from here' }).click();
  await plan.locator('.is-again', { hasText: /^sums/ }).waitFor();
  await plan.locator('.is-kept', { hasText: 'read' }).waitFor();
  await page.getByRole('button', { name: 'Not now' }).click();
});

journey('people are asked, decide, and hand in data that fits the form', {}, async (page) => {
  await open(page, `/executions/${expense.executions[0]}`);
  await node(page, 'ask').getByText('Asked').waitFor();
  await page.getByText('Pay 900 to Ada?').waitFor();
  await page.getByLabel('Comment').fill('Go on');
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByText('Fill in where the money goes').waitFor();
  await page.getByRole('button', { name: /hand in/i }).click();
  await page.locator('.field-mistake', { hasText: 'Is needed.' }).waitFor();
  await page.getByLabel('Iban').fill('DE00 1234');
  await page.getByRole('button', { name: /hand in/i }).click();
  await status(page, 'Completed');
});

journey('an execution is paused, resumed and cancelled', {}, async (page) => {
  await open(page, `/executions/${expense.executions[1]}`);
  await page.locator('.banner.is-why').waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByLabel('Reason').fill('for lunch');
  await page.getByRole('button', { name: 'Pause it' }).click();
  await status(page, 'Paused');
  await page.getByText(new RegExp(`Paused by ${OWNER.name}.*for lunch`)).waitFor();
  await page.getByRole('button', { name: 'Resume' }).click();
  await status(page, 'Running');
  await page.getByRole('button', { name: 'End' }).click();
  await page.getByRole('button', { name: 'Cancel it' }).click();
  await status(page, 'Cancelled');
});

journey('a thousand tasks are watched while they run', {}, async (page) => {
  const { executions } = await server.workflow(THOUSAND, {});
  await open(page, `/executions/${executions[0]}`);
  // It waits until somebody watches.
  await page.getByRole('button', { name: 'Approve' }).click();
  // Neither none nor all of them: it is seen on the way.
  await node(page, 'each').getByText(/\b[1-9]\d{0,2} of 1000\b/).waitFor();
  await status(page, 'Completed', 60_000);
  await node(page, 'one').getByText('1000 of 1000').waitFor();
  await page.getByRole('tab', { name: /^Tasks/ }).click();
  const table = page.getByRole('table', { name: 'Attempts' });
  await table.getByText('one[0]').waitFor();
  assert.equal(await table.getAttribute('aria-rowcount'), '1003', 'a thousand, the loop, the question, and the head');
});

journey('what failed is mended in the designer, and done again from there', {}, async (page) => {
  const { executions } = await server.workflow(SHARE, { guests: 0 });
  await open(page, `/executions/${executions[0]}`);
  await status(page, 'Failed');
  await page.locator('.banner.is-failure', { hasText: '48 / 0' }).waitFor();
  await node(page, 'thanks').getByText('Skipped').waitFor();

  await page.getByRole('link', { name: 'share-the-bill' }).click();
  await node(page, 'share').click();
  await page.getByLabel('Message', { exact: false }).first().fill('Each pays ${{ components.bill.output.rows[0] / (parameters.guests or 1) }}');
  await page.getByText('draft after version 1').waitFor();
  await page.getByText('No mistakes').waitFor();
  await page.getByRole('button', { name: 'Publish' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Publish' }).click();
  await page.getByText('version 2', { exact: true }).waitFor();

  await open(page, `/executions/${executions[0]}`);
  await page.getByRole('button', { name: 'Retry' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Newest version', { exact: true }).click();
  const plan = page.locator('.retry-plan');
  await plan.locator('.is-kept', { hasText: 'bill' }).waitFor();
  await plan.locator('.is-again', { hasText: /^share/ }).waitFor();
  await dialog.getByRole('button', { name: 'Retry' }).click();
  await page.locator('.banner', { hasText: 'Does …' }).waitFor();
  await status(page, 'Completed');
  for (const id of ['bill', 'share', 'thanks']) await node(page, id).getByText('Completed').waitFor();
  await page.getByRole('tab', { name: 'Logs' }).click();
  await page.locator('.log-line', { hasText: 'Each pays 48' }).waitFor();
});
