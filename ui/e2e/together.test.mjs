// What several people do with one workflow at once: in two tabs of one browser, and in two browsers, of which one may be offline.
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

test('two browsers draw one workflow at once, and each sees where the other is', () =>
  withPage(browser, 'here', {}, (page) =>
    withPage(browser, 'there', {}, async (other) => {
      const { id } = await begin('live');
      for (const each of [page, other]) await each.addInitScript(clockUpdates);
      await edit(page, id);
      await edit(other, id);
      for (const each of [page, other]) await each.getByRole('list', { name: 'Also here' }).getByRole('listitem').waitFor();

      await setTitle(page, 'say', 'Said here');
      await node(other, 'say').getByText('Said here').waitFor();
      await other.locator('.person-ring[data-id="say"]').waitFor();
      await setTitle(other, 'words', 'Words from there');
      await node(page, 'words').getByText('Words from there').waitFor();
      await page.locator('.person-ring[data-id="words"]').waitFor();

      const took = await latency(page, other, 'say', 40);
      for (const [what, { p50, p95 }] of Object.entries(took)) console.log(`an edit ${what} after ${p50.toFixed(1)} ms (p50), ${p95.toFixed(1)} ms (p95)`);

      await page.getByRole('button', { name: 'Undo' }).click();
      await node(other, 'words').getByText('Words from there').waitFor();
      await Promise.all([saved(page), saved(other)]);
      const draft = await draftOf(id);
      assert.match(draft, /# Said first\./, 'comments survive');
      assert.match(draft, /title: Words from there/);
      assert.equal(await page.getByText('Changed elsewhere').count(), 0);

      await other.goto('about:blank');
      await page.getByRole('list', { name: 'Also here' }).waitFor({ state: 'detached' });
    }),
  ));

/** Remembers when updates of the document went out over a WebSocket, and when they came. Runs in the page. */
function clockUpdates() {
  window.updates = { sent: {}, came: {} };
  const note = (kind, data) => {
    const bytes = new Uint8Array(data);
    // A message of sync that is an update.
    if (bytes[0] === 0 && bytes[1] === 2) window.updates[kind][bytes.join()] ??= performance.timeOrigin + performance.now();
  };
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...given) {
      super(...given);
      this.addEventListener('message', ({ data }) => note('came', data));
    }
    send(data) {
      note('sent', data);
      super.send(data);
    }
  };
}

/** How long it takes, in milliseconds, until what is typed in one page has come to the other, and is drawn there; budget 50. */
async function latency(page, other, id, rounds) {
  await setTitle(page, id, 'Measured');
  await node(other, id).getByText('Measured', { exact: true }).waitFor();
  await other.evaluate((of) => {
    window.seen = {};
    const look = () => {
      const [found] = document.querySelector(`.react-flow__node[data-id="${of}"]`)?.textContent?.match(/Round \d+ of it/) ?? [];
      if (found) window.seen[found] ??= performance.timeOrigin + performance.now();
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, id);
  await page.evaluate(() => {
    window.typed = {};
    addEventListener('input', ({ target }) => (window.typed[target.value] ??= performance.timeOrigin + performance.now()), true);
  });
  const title = page.getByLabel('Title', { exact: true });
  for (let round = 0; round < rounds; round += 1) {
    await title.fill(`Round ${round} of it`);
    await node(other, id).getByText(`Round ${round} of it`).waitFor();
  }
  const [typed, seen] = [await page.evaluate(() => window.typed), await other.evaluate(() => window.seen)];
  const [{ sent }, { came }] = [await page.evaluate(() => window.updates), await other.evaluate(() => window.updates)];
  const figures = (took) => {
    const sorted = took.filter((each) => Number.isFinite(each)).sort((a, b) => a - b);
    return { p50: sorted[Math.floor(sorted.length / 2)], p95: sorted[Math.floor(sorted.length * 0.95)] };
  };
  return {
    'has come to the other browser': figures(Object.entries(sent).map(([update, at]) => came[update] - at)),
    'is drawn there': figures(Object.entries(seen).map(([text, at]) => at - typed[text])),
  };
}

test('what is done offline is merged with what is done meanwhile in another browser', () =>
  withPage(browser, 'offline', {}, (page) =>
    withPage(browser, 'meanwhile', {}, async (other) => {
      const { id } = await begin('apart');
      await edit(page, id);
      await edit(other, id);
      await setTitle(page, 'say', 'Before');
      await node(other, 'say').getByText('Before').waitFor();
      await saved(page);

      await page.context().setOffline(true);
      await setTitle(page, 'say', 'Done offline');
      await page.getByText('Offline: your changes are kept here and are merged when the connection is back').waitFor();
      await accessible(page, 'offline');

      await setTitle(other, 'words', 'Done meanwhile');
      await node(other, 'say').click();
      await other.getByRole('tab', { name: 'Settings' }).click();
      await other.getByLabel('Message', { exact: false }).first().fill('Good evening');
      // A component that is added is there once, too.
      await other.getByRole('button', { name: 'Show the source' }).click();
      await other.locator('.cm-line', { hasText: 'components:' }).click();
      await other.keyboard.press('End');
      await other.keyboard.press('Enter');
      await other.keyboard.type('  more: { type: noop }');
      await node(other, 'more').waitFor();
      await saved(other);

      await page.context().setOffline(false);
      await node(page, 'words').getByText('Done meanwhile').waitFor();
      await node(page, 'more').waitFor();
      await node(other, 'say').getByText('Done offline').waitFor();
      await Promise.all([saved(page), saved(other)]);
      const draft = await draftOf(id);
      for (const part of [/title: Done offline/, /title: Done meanwhile/, /Good evening/, /# Said first\./]) assert.match(draft, part);
      for (const each of [page, other]) {
        assert.equal(await each.locator('.react-flow__node').count(), 3);
        assert.equal(await each.getByText('Changed elsewhere').count(), 0);
        await each.getByRole('list', { name: 'Also here' }).getByRole('listitem').waitFor();
      }

      // One who has no copy of it, and one who has an old one, begin where the others are.
      await page.reload();
      await node(page, 'say').getByText('Done offline').waitFor();
      await node(page, 'words').getByText('Done meanwhile').waitFor();
      await withPage(browser, 'later', {}, async (third) => {
        await edit(third, id);
        await node(third, 'more').waitFor();
        await third.getByRole('list', { name: 'Also here' }).getByRole('listitem').nth(1).waitFor();
        await setTitle(third, 'more', 'By a third');
        await node(page, 'more').getByText('By a third').waitFor();
        await node(other, 'more').getByText('By a third').waitFor();
        await saved(third);
      });
      assert.equal(await page.locator('.react-flow__node').count(), 3);
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
