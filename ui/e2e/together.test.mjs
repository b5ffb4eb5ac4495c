// What several people do with one workflow at once: in two tabs of one browser, and in two browsers of which one is offline.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { accessible, launch, node, withPage } from './browser.mjs';
import { GREET } from './fixtures.mjs';
import { serve } from './server.mjs';

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([serve(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const saved = (page) => page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();
const setTitle = async (page, id, title) => {
  await node(page, id).click();
  await page.getByRole('tab', { name: 'Notes' }).click();
  await page.getByLabel('Title', { exact: true }).fill(title);
};
const edit = async (page, id) => {
  await page.goto(`${server.base}/workflows/${id}/edit`);
  await node(page, 'say').waitFor();
};
/** A workflow of its own for a test. */
const begin = (name) => server.workflow(GREET.replace('name: greet', `name: ${name}`));
const draftOf = async (id) => (await server.api('GET', `/workflows/${id}/draft`)).definition;

test('two tabs draw one workflow at once, and each undoes what is its own', () =>
  withPage(browser, 'two tabs', {}, async (page) => {
    const { id } = await begin('together');
    const other = await page.context().newPage();
    await edit(page, id);
    await edit(other, id);
    await page.getByRole('list', { name: 'Also here' }).getByRole('listitem').waitFor();
    await accessible(page, 'with somebody else');

    await setTitle(page, 'say', 'Said here');
    await node(other, 'say').getByText('Said here').waitFor();
    // What one has selected is marked for the other.
    await other.locator('.person-ring[data-id="say"]').waitFor();

    await setTitle(other, 'words', 'Words from there');
    await node(page, 'words').getByText('Words from there').waitFor();
    await page.locator('.person-ring[data-id="words"]').waitFor();

    await page.getByRole('button', { name: 'Undo' }).click();
    await node(other, 'say').getByText('say', { exact: true }).waitFor();
    await node(other, 'words').getByText('Words from there').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Undo' }).isEnabled(), false, "the other tab's edit is not undone here");

    // In the source, too; and where somebody writes is seen.
    await page.getByRole('button', { name: 'Show the source' }).click();
    await other.getByRole('button', { name: 'Show the source' }).click();
    await other.locator('.cm-line', { hasText: 'type: log' }).click();
    await page.locator('.source-caret').waitFor();
    await other.keyboard.press('End');
    await other.keyboard.type(' # typed there');
    await page.locator('.cm-content', { hasText: '# typed there' }).waitFor();

    // A text that cannot be read yet is nobody else's.
    await other.keyboard.press('Enter');
    await other.keyboard.type('x: [');
    await other.getByText(/Not drawn yet/).waitFor();
    await setTitle(page, 'say', 'Meanwhile');
    await other.locator('.cm-content').press('End');
    await other.keyboard.press('Backspace');
    await other.keyboard.type('1');
    await node(other, 'say').getByText('Meanwhile').waitFor();
    await page.locator('.cm-content', { hasText: 'x: 1' }).waitFor();

    await Promise.all([saved(page), saved(other)]);
    const draft = await draftOf(id);
    assert.match(draft, /# Said first\./, 'comments survive');
    assert.match(draft, /type: log # typed there/);
    assert.match(draft, /title: Words from there/);

    await other.close();
    await page.getByRole('list', { name: 'Also here' }).waitFor({ state: 'detached' });
  }));

test('what is done offline is merged with what was done meanwhile in another browser', () =>
  withPage(browser, 'offline', {}, (page) =>
    withPage(browser, 'meanwhile', {}, async (other) => {
      const { id } = await begin('apart');
      await edit(page, id);
      await edit(other, id);
      await setTitle(page, 'say', 'Before');
      await saved(page);

      await page.context().setOffline(true);
      await setTitle(page, 'say', 'Done offline');
      await page.getByText(/Offline; kept in this browser/).waitFor();

      await other.reload();
      await node(other, 'say').getByText('Before').waitFor();
      await setTitle(other, 'words', 'Done meanwhile');
      await node(other, 'say').click();
      await other.getByRole('tab', { name: 'Settings' }).click();
      await other.getByLabel('Message', { exact: false }).first().fill('Good evening');
      await saved(other);

      await page.context().setOffline(false);
      await node(page, 'words').getByText('Done meanwhile').waitFor();
      await saved(page);
      const draft = await draftOf(id);
      for (const part of [/title: Done offline/, /title: Done meanwhile/, /Good evening/, /# Said first\./]) assert.match(draft, part);

      // The other browser sees it when it looks again, and so does this one after a reload.
      await other.evaluate(() => dispatchEvent(new Event('focus')));
      await node(other, 'say').getByText('Done offline').waitFor();
      await page.reload();
      await node(page, 'say').getByText('Done offline').waitFor();
      await node(page, 'words').getByText('Done meanwhile').waitFor();
      assert.equal(await page.getByText('Changed elsewhere').count(), 0);
    }),
  ));

test('what came in through the API while nobody looked is taken over', () =>
  withPage(browser, 'taken over', {}, async (page) => {
    const { id } = await begin('through-the-api');
    await edit(page, id);
    await setTitle(page, 'say', 'Mine');
    await saved(page);
    await page.goto('about:blank');
    const draft = await draftOf(id);
    await server.api('PUT', `/workflows/${id}/draft`, { definition: draft.replace('  say:', '  more:\n    type: noop\n    needs: [words]\n  say:') });
    await edit(page, id);
    await node(page, 'more').waitFor();
    await node(page, 'say').getByText('Mine').waitFor();
    // It is known now, and stays one.
    await page.reload();
    await node(page, 'more').waitFor();
    assert.equal(await page.locator('.react-flow__node').count(), 3);
  }));
