// What people do, against the program itself. What also depends on the engine behind the pages is in engine.test.mjs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { accessible, fits, launch, node, status, withPage } from './browser.mjs';
import { EXPENSE, GREET, INVOICE, NIGHTLY, REPORT, SHARE } from './fixtures.mjs';
import { serve } from './server.mjs';

let server;
let browser;
let greet;
let invoice;
let nightly;

before(async () => {
  [server, browser] = await Promise.all([serve(), launch()]);
  greet = await server.workflow(GREET, {});
  invoice = await server.workflow(INVOICE, {});
  nightly = await server.workflow(NIGHTLY, {});
  await server.workflow(EXPENSE, { amount: 900 }, { amount: 500 });
  await server.workflow(REPORT);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const journey = (name, options, run) => test(name, () => withPage(browser, name, options, run));
const open = (page, path) => page.goto(server.base + path);

journey('a draft is kept, its difference shown, and published', {}, async (page) => {
  await open(page, `/workflows/${greet.id}/edit`);
  await node(page, 'say').click();
  await page.getByLabel('Message', { exact: false }).first().fill('Good evening');
  await page.getByText('draft after version 1').waitFor();
  await page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();
  const draft = await server.api('GET', `/workflows/${greet.id}/draft`);
  assert.match(draft.definition, /# Said first\./, 'comments survive');
  assert.match(draft.definition, /Good evening/);

  await page.reload();
  await node(page, 'say').waitFor();
  await page.getByText('draft after version 1').waitFor();
  await page.getByRole('button', { name: 'Publish' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('config.message').waitFor();
  await dialog.getByText('Good evening').waitFor();
  await dialog.getByRole('button', { name: 'Publish' }).click();
  await page.getByText('version 2', { exact: true }).waitFor();
  const published = await server.api('GET', `/workflows/${greet.id}`);
  assert.equal(published.version, 2);
  assert.match(published.definition, /# Said first\./);
});

journey('canvas and source are one document, and undo goes through both', {}, async (page) => {
  await open(page, '/workflows/new');
  await page.getByRole('button', { name: 'Show the source' }).click();
  const editor = page.locator('.cm-content');
  const paste = (text) =>
    editor.evaluate((element, pasted) => {
      const data = new DataTransfer();
      data.setData('text/plain', pasted);
      element.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
    }, text);
  await editor.click();
  await page.keyboard.press('Control+A');
  await paste('workflow: v1\nname: typed\ncomponents:\n  # Kept.\n  one: { type: noop }\n  two: { type: noop, needs: [one] }\n');
  await node(page, 'two').waitFor();
  assert.equal(await page.locator('.react-flow__edge').count(), 1);

  await node(page, 'one').click();
  await page.keyboard.press('Delete');
  await node(page, 'one').waitFor({ state: 'detached' });
  await page.locator('.cm-content', { hasText: 'two' }).waitFor();
  assert.ok(!(await editor.innerText()).includes('one:'));
  await page.getByRole('button', { name: 'Undo' }).click();
  await node(page, 'one').waitFor();
  assert.match(await editor.innerText(), /# Kept\./);

  // A text that cannot be read is marked, and the drawing stays.
  await editor.click();
  await page.keyboard.press('Control+End');
  await paste('broken: [\n');
  await page.getByText(/Not drawn yet/).waitFor();
});

journey('a connection is pulled into the empty canvas, and dragged to another component', {}, async (page) => {
  await open(page, '/workflows/new');
  await page.getByRole('option', { name: 'noop' }).click();
  const first = node(page, 'noop');
  await first.waitFor();
  const port = first.locator('.react-flow__handle.source').first();
  const from = await port.boundingBox();
  await page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
  await page.mouse.down();
  await page.mouse.move(from.x + 120, from.y + 140, { steps: 6 });
  await page.mouse.up();
  await page.getByRole('dialog', { name: 'Add a component' }).waitFor();
  await page.keyboard.type('decision');
  await page.keyboard.press('Enter');
  await node(page, 'decision').waitFor();
  await page.locator('.react-flow__edge').first().waitFor({ state: 'attached' });
  assert.equal(await page.locator('.react-flow__edge').count(), 1);

  // Moving by keys is kept as moving by hand is.
  await node(page, 'decision').focus();
  const before = await node(page, 'decision').boundingBox();
  await page.keyboard.press('ArrowDown');
  await page.waitForFunction(([id, y]) => document.querySelector(`.react-flow__node[data-id="${id}"]`).getBoundingClientRect().y > y, ['decision', before.y]);
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.waitForFunction(([id, y]) => document.querySelector(`.react-flow__node[data-id="${id}"]`).getBoundingClientRect().y <= y, ['decision', before.y]);
});

journey('a component is dragged into a container and out of it, in one step each', {}, async (page) => {
  const { id } = await server.workflow(`workflow: v1
name: boxes
components:
  first: { type: noop }
  then: { type: noop, needs: [first] }
  many:
    type: group
    needs: [then]
    components:
      one: { type: noop }
      two: { type: noop, needs: [one] }
`);
  await open(page, `/workflows/${id}/edit`);
  const standsIn = (wanted) =>
    page.waitForFunction((is) => {
      const [inner, outer] = ['then', 'many'].map((each) => document.querySelector(`.react-flow__node[data-id="${each}"]`).getBoundingClientRect());
      return (inner.top >= outer.top && inner.bottom <= outer.bottom && inner.left >= outer.left && inner.right <= outer.right) === is;
    }, wanted);
  const kept = async () => {
    await page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();
    return (await server.api('GET', `/workflows/${id}/draft`)).definition;
  };
  const drag = async (what, x, y) => {
    const from = await node(page, what).boundingBox();
    await page.mouse.move(from.x + 60, from.y + 20);
    await page.mouse.down();
    await page.mouse.move(from.x + 70, from.y + 30, { steps: 3 });
    await page.mouse.move(x, y, { steps: 8 });
  };
  const frame = await node(page, 'many').boundingBox();
  await drag('then', frame.x + frame.width - 40, frame.y + frame.height - 12);
  await page.locator('.frame.is-target').waitFor();
  await page.mouse.up();
  await page.getByText('Instead: first → many').waitFor();
  await standsIn(true);
  const within = await kept();
  assert.match(within, /many:\n    type: group\n    needs: \[ *first *\]/);
  assert.match(within, /\n      then:/);

  const again = await node(page, 'many').boundingBox();
  await drag('then', again.x + again.width / 2, again.y - 60);
  await page.mouse.up();
  await standsIn(false);
  assert.match(await kept(), /\n  then:/);

  // One step back is one drag, also after the page was loaded again.
  await page.reload();
  await node(page, 'then').waitFor();
  await page.getByRole('button', { name: 'Undo' }).click();
  await standsIn(true);
  await page.getByRole('button', { name: 'Undo' }).click();
  await standsIn(false);
  assert.match(await kept(), /needs: \[ *then *\]/);
});

journey('a container is folded, and stepped into and out of, by keys', {}, async (page) => {
  await open(page, `/workflows/${nightly.id}/edit`);
  await node(page, 'fetch').waitFor();
  await node(page, 'regions').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Each region' }).waitFor();
  await page.keyboard.press('f');
  await node(page, 'regions').getByText('2 inside').waitFor();
  assert.equal(await node(page, 'fetch').count(), 0);
  await accessible(page, 'a folded container');
  // What is looked for is uncovered.
  await page.getByRole('tab', { name: 'Outline' }).click();
  await page.getByRole('treeitem', { name: /^fetch/ }).click();
  await page.getByRole('button', { name: 'Fold Each region' }).waitFor();
  await node(page, 'regions').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await page.getByRole('navigation', { name: 'Where you are' }).getByText('Each region').waitFor();
  assert.equal(await node(page, 'begin').count(), 0);
  await node(page, 'store').waitFor();
  await accessible(page, 'inside of a container');
  await page.locator('#main').focus();
  await page.keyboard.press('Escape');
  await node(page, 'begin').waitFor();
});

journey('expressions are completed with what ran before, and show what it gave last', {}, async (page) => {
  const { id, executions } = await server.workflow(INVOICE.replace('invoice-check', 'sums-again'), {});
  await open(page, `/executions/${executions[0]}`);
  await status(page, 'Failed');
  await open(page, `/workflows/${id}/edit`);
  await node(page, 'book').click();
  const field = page.getByLabel('Message', { exact: false }).first();
  await field.fill('');
  await field.pressSequentially('Sum: ${{ read');
  const list = page.getByRole('listbox', { name: 'References' });
  await list.getByRole('option', { name: /components\.read\.output/ }).waitFor();
  await page.keyboard.press('Enter');
  await page.keyboard.type('.to');
  await list.getByRole('option', { name: /output\.total/ }).getByText('120').waitFor();
  await accessible(page, 'suggestions');
  await page.keyboard.press('Enter');
  assert.equal(await field.inputValue(), 'Sum: ${{ components.read.output.total');
  await page.keyboard.type(' }}');
  await page.getByLabel('With the last execution').getByText('Sum: 120').waitFor();
  await page.keyboard.type(' ${{ 1 + 1 }}');
  await page.getByText('Computed when it runs').waitFor();

  await page.getByRole('button', { name: 'Show the source' }).click();
  const editor = page.locator('.cm-content');
  await editor.click();
  await page.keyboard.press('Control+End');
  await page.keyboard.type('output:\n  sum: ${{ components.rea');
  await page.locator('.cm-tooltip-autocomplete li', { hasText: 'components.read.output' }).first().waitFor();
  await page.keyboard.type('d.output.tot');
  const option = page.locator('.cm-tooltip-autocomplete li', { hasText: 'components.read.output.total' });
  await option.getByText('120').waitFor();
  await option.click();
  const line = page.locator('.cm-line', { hasText: /^\s*sum: \$\{\{ components\.read\.output\.total/ });
  await line.waitFor();
  // The check of the unfinished text has come: what it marks would take the hint away again.
  await line.locator('.cm-lintRange').waitFor();
  await line.getByText(/components\.read/).last().hover();
  await page.locator('.source-look', { hasText: 'last: 120' }).waitFor();
});

journey('to try only one component, what comes before it needs data', {}, async (page) => {
  const { id } = await server.workflow(GREET.replace('name: greet', 'name: tried-alone'));
  await open(page, `/workflows/${id}/edit`);
  await node(page, 'say').click({ button: 'right' });
  const menu = page.getByRole('menu', { name: 'Actions of say' });
  await accessible(page, 'the menu of a component');
  await menu.getByRole('menuitem', { name: /^Try only say/ }).click();
  const panel = page.getByRole('region', { name: 'Try' });
  const refused = panel.getByRole('alert');
  await refused.getByRole('button', { name: 'words' }).click();
  await page.getByRole('heading', { name: 'words' }).waitFor();

  // What was never published says why it cannot be tried.
  await open(page, '/workflows/new');
  await page.getByRole('option', { name: 'noop' }).click();
  await page.getByRole('button', { name: 'Try up to noop' }).press('Enter');
  await page.getByText(/Publish it once/).waitFor();
});

journey('a large drawing is an overview from afar, and components from near', {}, async (page) => {
  const chain = Array.from({ length: 220 }, (_, at) => `  c${at}:\n    type: noop\n${at > 0 ? `    needs: [c${at - 1}]\n` : ''}`).join('');
  const { id } = await server.workflow(`workflow: v1\nname: large\ncomponents:\n${chain}`);
  await open(page, `/workflows/${id}/edit`);
  await page.getByRole('img', { name: /^Overview of 220 components/ }).waitFor();
  assert.equal(await page.locator('.react-flow__node').count(), 0);
  await accessible(page, 'the overview');

  // What is clicked is selected although it has no element of its own; twice, and the view comes near.
  const pane = await page.locator('.react-flow__pane').boundingBox();
  await page.mouse.dblclick(pane.x + pane.width / 2, pane.y + pane.height / 2);
  await page.locator('.react-flow__node').first().waitFor();
  const shown = await page.locator('.react-flow__node').count();
  assert.ok(shown < 150, `only what is around the window is in the page, and not ${shown}`);
  await page.getByRole('button', { name: 'Fit the drawing' }).click();
  await page.locator('.overview').waitFor();
  await page.locator('#main').focus();
  await page.keyboard.press('Control+A');
  await page.getByRole('heading', { name: '220 components' }).waitFor();
});

journey('a mistake stands on its component, its field, and in the list', {}, async (page) => {
  await open(page, '/workflows/new');
  await page.getByRole('option', { name: 'decision' }).click();
  await node(page, 'decision').waitFor();
  await page.getByLabel('Condition').fill('parameters.nobody > 3');
  await node(page, 'decision').locator('.card-count.bad').waitFor();
  await page.locator('.field-mistake', { hasText: 'nobody' }).waitFor();
  await page.locator('.problems-head').click();
  await page.locator('.problem', { hasText: 'nobody' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Publish' }).getAttribute('aria-disabled'), 'true');
});

journey('what a component gave is used again, by a key and for a time', {}, async (page) => {
  const { id } = await server.workflow(SHARE.replace('share-the-bill', 'used-again'));
  await open(page, `/workflows/${id}/edit`);
  await node(page, 'share').click();
  await page.getByRole('tab', { name: 'Policy' }).click();
  const panel = page.getByRole('region', { name: 'Cache' });
  // The engine decides a log by itself: there is nothing to save.
  await panel.getByText('Only what a worker runs').waitFor();
  assert.equal(await panel.getByRole('switch').isDisabled(), true);

  await node(page, 'bill').click();
  await page.getByRole('tab', { name: 'Policy' }).click();
  await panel.getByRole('switch', { name: 'Use results again' }).click();
  await panel.getByText(/the same settings is used again for 1d/).waitFor();
  const time = panel.getByLabel('Ttl', { exact: true });
  await time.fill('900d');
  await panel.locator('.field.has-mistake', { hasText: 'Ttl' }).getByText('1s to 365d').last().waitFor();
  await page.getByRole('tab', { name: /^Policy 1/ }).waitFor();
  await time.fill('2h');
  await page.getByRole('tab', { name: 'Policy', exact: true }).waitFor();
  const key = panel.getByLabel('Key', { exact: true });
  await key.pressSequentially('${{ gue');
  await page.getByRole('listbox', { name: 'References' }).getByRole('option', { name: 'parameters.guests' }).click();
  await key.press('End');
  await page.keyboard.type(' }}');
  await panel.getByText(/the same key is used again for 2h/).waitFor();
  await page.getByText('No mistakes').waitFor();
  await accessible(page, 'the settings of a cache');
  await page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();
  assert.match((await server.api('GET', `/workflows/${id}/draft`)).definition, /cache: ?\{ ?ttl: 2h, key: "?\$\{\{ parameters\.guests \}\}"? ?\}|cache:\n {6}ttl: 2h\n {6}key: \$\{\{ parameters\.guests \}\}/);

  await panel.getByRole('switch', { name: 'Use results again' }).click();
  await panel.getByText('Instead of running it once more').waitFor();
});

journey('copied components are YAML, and come with new ids', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
  await open(page, `/workflows/${nightly.id}/edit`);
  await node(page, 'begin').click();
  await page.keyboard.press('Control+D');
  await node(page, 'begin_2').waitFor();
  await node(page, 'begin_2').click();
  await page.keyboard.press('Control+C');
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^components:\n {2}begin_2:\n {4}type: start/);
  await page.keyboard.press('Control+Z');
  await node(page, 'begin_2').waitFor({ state: 'detached' });
});

journey('lists are filtered by their address, and empty ones say what is next', {}, async (page) => {
  await open(page, '/executions?status=failed');
  await page.getByRole('link', { name: 'invoice-check' }).first().waitFor();
  assert.equal(await page.getByRole('link', { name: 'nightly-import' }).count(), 0);
  await open(page, '/workflows?q=invoice');
  await page.getByRole('link', { name: 'invoice-check', exact: true }).waitFor();
  await page.getByRole('textbox', { name: /Find by name/ }).fill('no such workflow');
  await page.getByText('No workflow matches.').waitFor();
  assert.match(page.url(), /q=no/);
});

journey('a filter is given a name, and found again under it', {}, async (page) => {
  await open(page, '/executions?status=failed');
  await page.getByRole('button', { name: 'Save this filter' }).click();
  await page.getByLabel('Name of the filter').fill('what went wrong');
  await page.keyboard.press('Enter');
  await open(page, '/executions');
  await page.getByRole('link', { name: 'greet' }).first().waitFor();
  await page.getByRole('link', { name: 'what went wrong' }).click();
  await page.waitForURL(/status=failed/);
  await page.getByRole('combobox', { name: 'Status' }).waitFor();
  assert.equal(await page.getByRole('combobox', { name: 'Status' }).inputValue(), 'failed');
  await accessible(page, 'saved filters');
  await page.getByRole('button', { name: 'Forget the filter what went wrong' }).click();
  assert.equal(await page.getByRole('link', { name: 'what went wrong' }).count(), 0);
});

journey('a line of a log has an address', {}, async (page) => {
  await open(page, `/executions/${invoice.executions[0]}?tab=logs`);
  const line = page.locator('.log-line', { hasText: 'refuse' }).first();
  const words = await line.innerText();
  await line.getByRole('button').click();
  await page.waitForURL(/line=/);
  await page.reload();
  await page.locator('.log-line.is-hit').waitFor();
  assert.equal(await page.locator('.log-line.is-hit').innerText(), words);
  assert.equal(await page.locator('.log-line.is-hit').count(), 1);
});

journey('a schedule shows its next fires, is paused and resumed, and backfilled with the count in advance', {}, async (page) => {
  await open(page, '/schedules');
  await page.getByRole('link', { name: 'quarters' }).click();
  await page.waitForURL(/schedule=/);
  const detail = page.getByRole('region', { name: 'The schedule quarters' });
  await detail.getByText('in Europe/Berlin').waitFor();
  assert.equal(await detail.locator('ol.fires li').count(), 10);
  await page.getByRole('button', { name: /^Pause quarters/ }).click();
  await detail.locator('.status', { hasText: 'Paused' }).waitFor();
  await detail.getByText('It is paused').waitFor();
  await page.getByRole('button', { name: /^Resume quarters/ }).click();
  await detail.locator('.status', { hasText: 'Active' }).waitFor();

  await detail.getByRole('button', { name: 'Backfill' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('From').fill('2026-01-05T00:00');
  await dialog.getByLabel('To').fill('2026-01-05T00:44');
  await dialog.getByText('3 fires lie in this range.').waitFor();
  await dialog.getByLabel('To').fill('2026-01-04T00:00');
  await dialog.getByText('The last instant is before the first one.').waitFor();
  await dialog.getByLabel('To').fill('2026-01-05T00:14');
  await dialog.getByText('1 fire lies in this range.').waitFor();
  await accessible(page, 'the dialog of a backfill');
  await dialog.getByLabel('Reason').fill('a new report');
  await dialog.getByRole('button', { name: 'Begin with 1' }).click();
  await detail.getByText('a new report').waitFor();
  await detail.getByText('1 of 1').waitFor({ timeout: 30_000 });
  const [made] = (await server.api('GET', '/backfills')).items;
  assert.equal(made.total, 1);
  await page.reload();
  await detail.locator('.status', { hasText: 'Started' }).first().waitFor();
  await accessible(page, 'a schedule');
});

journey('the dashboard says how it goes, in figures, words and tables', {}, async (page) => {
  await open(page, `/executions/${invoice.executions[0]}`);
  await status(page, 'Failed');
  await page.getByRole('link', { name: 'Dashboard' }).click();
  await page.locator('.figure', { hasText: 'Accepted' }).waitFor();
  const chart = page.getByRole('img', { name: /^Throughput: \d+ accepted and/ });
  await chart.locator('canvas').waitFor();
  await page.getByText('Throughput as a table').click();
  await page.getByRole('region', { name: 'Throughput as a table' }).getByRole('columnheader', { name: 'Accepted' }).waitFor();
  await page.locator('.dash-card', { hasText: 'Failing and failed' }).getByRole('link', { name: /invoice-check/ }).first().waitFor();
  await page.locator('.dash-card', { hasText: 'Workers' }).getByText(/slots taken/).waitFor();
  await page.getByText('Last hour').click();
  await page.waitForURL(/range=1h/);
  await page.reload();
  await page.getByText('within 1 min').first().waitFor();
  await accessible(page, 'the dashboard');
  // One workflow alone, by its address.
  await open(page, `/dashboard?workflow=${invoice.id}`);
  await page.getByRole('button', { name: 'Figures of all workflows' }).waitFor();
  await page.locator('.dash-card', { hasText: 'Newest executions' }).getByRole('link', { name: /invoice-check/ }).first().waitFor();
  assert.equal(await page.locator('.dash-list').getByRole('link', { name: /nightly-import/ }).count(), 0);
});

journey('everything is found with Ctrl-K', {}, async (page) => {
  await open(page, '/workers');
  await page.getByRole('cell', { name: /of 128/ }).waitFor();
  await page.keyboard.press('Control+K');
  await page.keyboard.type('nightly');
  await page.locator('[data-selected]', { hasText: 'nightly' }).waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: /nightly|Nightly/ }).waitFor();
});

const pages = () => [
  ['/dashboard', 'Newest executions'],
  ['/workflows', 'New workflow'],
  ['/workflows/new', 'Publish'],
  [`/workflows/${nightly.id}/edit`, 'Publish'],
  ['/executions', 'Executions'],
  [`/executions/${invoice.executions[0]}`, 'Execute again'],
  [`/executions/${invoice.executions[0]}?tab=logs&task=refuse`, 'Execute again'],
  [`/executions/${nightly.executions[0]}?tab=tasks`, 'Execute again'],
  ['/schedules', 'quarters'],
  ['/approvals?status=any', 'Approvals'],
  ['/workers', 'Workers'],
];
const settled = async (page, text) => {
  await page.locator('main').getByText(text).first().waitFor();
  await page.waitForFunction(() => document.querySelector('.loading') === null);
};

for (const colorScheme of ['light', 'dark']) {
  journey(`nothing keeps anybody out: ${colorScheme}`, { colorScheme }, async (page) => {
    for (const [path, text] of pages()) {
      await open(page, path);
      await settled(page, text);
      await accessible(page, `${path}, ${colorScheme}`);
    }
  });
}

for (const width of [390, 320]) {
  journey(`on a phone of ${width} pixels everything fits`, { viewport: { width, height: 780 }, hasTouch: true, isMobile: true }, async (page) => {
    for (const [path, text] of pages()) {
      await open(page, path);
      await settled(page, text);
      await fits(page, path);
      if (width === 390) await accessible(page, `${path}, phone`);
    }
    await page.getByRole('button', { name: 'Open the menu' }).click();
    await page.getByRole('dialog').getByRole('link', { name: 'Executions' }).waitFor();
    await fits(page, 'the menu');
  });
}

journey('on a phone a component is added, changed and deleted by touch', { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true }, async (page) => {
  await open(page, '/workflows/new');
  await page.getByRole('button', { name: 'Add', exact: true }).tap();
  await page.getByRole('option', { name: 'log' }).tap();
  await page.getByRole('treeitem', { name: /log/ }).waitFor();
  await page.getByLabel('Message', { exact: false }).first().fill('from a phone');
  await fits(page, 'the sheet of settings');
  await page.getByRole('button', { name: 'Delete' }).tap();
  await page.getByText('There are no components yet.').waitFor();
});
