// Signing in and out, and what becomes of a page whose session ends.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { accessible, fits, launch, node, withPage } from './browser.mjs';
import { GREET } from './fixtures.mjs';
import { OWNER, serveAs, signIn } from './server.mjs';

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([serveAs({ hasOwner: false }), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What the browser writes down of each request that is refused. */
const REFUSED = [{ said: /\b(401|403|422)\b/, of: /./ }];
const journey = (name, run) => test(name, () => withPage(browser, name, { isSignedIn: false, expected: REFUSED }, run));
const open = (page, path) => page.goto(server.base + path);
const at = (page, path) => page.waitForURL((url) => url.pathname === `/workflow_orchestration${path}`);
const login = () => signIn(server.url, '/auth/login', OWNER);

/** Signs in by the keyboard: the first field has the focus. */
async function enter(page, name, password) {
  await page.getByLabel('Name', { exact: true }).and(page.locator(':focus')).waitFor();
  await page.keyboard.type(name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
}

/** Asks the server as the browser with a cookie would. */
async function as(cookie, method, path, { csrf, origin = server.url, body } = {}) {
  const response = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: {
      cookie: `${cookie.name}=${cookie.value}`,
      ...(origin && { origin }),
      ...(csrf && { 'x-csrf-token': csrf }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}
const tokenOf = async (cookie) => (await as(cookie, 'GET', '/auth/session')).body.csrf;

/** What ends the session of a page, as its person would from another browser. */
async function endingOf(page) {
  const [cookie] = (await page.context().cookies()).filter(({ name }) => name === 'sid');
  const { body } = await as(cookie, 'GET', '/me/sessions');
  const { id } = body.items.find(({ current }) => current);
  const other = await login();
  const csrf = await tokenOf(other);
  return async () => assert.equal((await as(other, 'DELETE', `/me/sessions/${id}`, { csrf })).status, 204);
}

journey('the owner link leads to the dashboard, without a mouse', async (page) => {
  await open(page, '/workflows');
  await page.getByRole('heading', { name: 'This installation has no owner yet' }).waitFor();
  await at(page, '/setup');
  await page.getByText('apg owner-link').waitFor();
  await accessible(page, 'an installation without an owner');

  await page.goto('about:blank');
  await page.goto(server.ownerLink);
  await page.getByRole('heading', { name: 'Become the owner' }).waitFor();
  await page.waitForFunction(() => location.hash === '');
  assert.equal(await page.getByRole('navigation').count(), 0);
  await accessible(page, '/setup');
  assert.equal(await page.getByLabel('Name', { exact: true }).getAttribute('autocomplete'), 'username');
  assert.equal(await page.getByLabel('Password', { exact: true }).getAttribute('autocomplete'), 'new-password');

  await enter(page, OWNER.name, 'too short');
  await page.getByText('At least 12 characters').waitFor();
  await page.getByLabel('Password', { exact: true }).and(page.locator(':focus')).waitFor();
  await accessible(page, 'a password that is too short');
  // What was typed is selected, and gives way.
  await page.keyboard.type(OWNER.password);
  await page.keyboard.press('Enter');
  await at(page, '/dashboard');
  await page.getByRole('button', { name: 'Run the sample' }).waitFor();

  // The link is for one use.
  await page.context().clearCookies();
  await page.goto('about:blank');
  await page.goto(server.ownerLink);
  await page.getByRole('heading', { name: 'Give yourself a new password' }).waitFor();
  await enter(page, OWNER.name, 'another horse altogether');
  await page.getByRole('alert').filter({ hasText: 'The link was used' }).waitFor();
});

journey('somebody signs in where they wanted to be, and is refused with a wrong password', async (page) => {
  await open(page, '/executions?status=failed');
  await at(page, '/login');
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await accessible(page, '/login');
  await page.setViewportSize({ width: 320, height: 640 });
  await fits(page, '/login');
  await page.setViewportSize({ width: 1360, height: 820 });
  assert.equal(await page.getByLabel('Password', { exact: true }).getAttribute('autocomplete'), 'current-password');

  await enter(page, OWNER.name, 'not the password at all');
  await page.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  await page.getByLabel('Password', { exact: true }).and(page.locator(':focus')).waitFor();
  await accessible(page, 'a wrong password');
  await page.keyboard.type(OWNER.password);
  await page.keyboard.press('Enter');
  await at(page, '/executions');
  assert.match(page.url(), /status=failed/);

  // Nobody is led away from here.
  for (const next of ['https://example.org/workflow_orchestration/x', '//example.org', '/api/v1/docs']) {
    await open(page, `/login?next=${encodeURIComponent(next)}`);
    await at(page, '/dashboard');
    assert.equal(new URL(page.url()).origin, server.url);
  }
});

journey('whoever signs out is out in every tab, without a mouse', async (page) => {
  await page.context().addCookies([await login()]);
  await open(page, '/workflows');
  const other = await page.context().newPage();
  await open(other, '/schedules');
  await other.getByRole('heading', { name: 'Schedules' }).waitFor();
  // Tabs listen to each other a moment after they were opened.
  await other.waitForTimeout(1_500);

  await page.getByRole('button', { name: `Signed in as ${OWNER.name}` }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('menu').waitFor();
  await accessible(page, 'the menu of the person');
  await page.keyboard.press('ArrowDown');
  await page.getByRole('menuitem', { name: 'Sign out' }).and(page.locator(':focus')).waitFor();
  await page.keyboard.press('Enter');
  await at(page, '/login');
  await at(other, '/login');
  assert.equal(await page.evaluate(() => fetch('/api/v1/workflows').then(({ status }) => status)), 401);

  // Back in one tab, back in the other.
  await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await page.keyboard.press('Enter');
  await at(page, '/workflows');
  await at(other, '/schedules');
});

journey('a session that ends in the middle of an edit takes nothing of it along', async (page) => {
  await page.context().addCookies([await login()]);
  const { id } = await server.workflow(GREET);
  await open(page, `/workflows/${id}/edit`);
  await node(page, 'say').click();
  await page.getByRole('tab', { name: 'Notes' }).click();
  const title = page.getByLabel('Title', { exact: true });
  await title.fill('Before');
  await page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();

  // Before what was typed is kept on the server.
  const end = await endingOf(page);
  await title.fill('Typed at the end');
  await end();
  const sheet = page.getByRole('dialog', { name: 'Sign in again' });
  await sheet.waitFor();
  await accessible(page, 'the sign-in sheet');
  await page.keyboard.press('Escape');
  await sheet.getByLabel('Password', { exact: true }).and(page.locator(':focus')).waitFor();
  assert.equal(await sheet.getByLabel('Name', { exact: true }).inputValue(), OWNER.name);

  // The server is not asked all the while.
  let requests = 0;
  page.on('request', () => (requests += 1));
  await page.waitForTimeout(3_000);
  assert.ok(requests < 10, `${requests} requests in three seconds`);

  await page.keyboard.type(OWNER.password);
  await page.keyboard.press('Enter');
  await sheet.waitFor({ state: 'detached' });
  assert.equal(await title.inputValue(), 'Typed at the end');
  await page.locator('.save-state', { hasText: /^\s*Saved/ }).waitFor();
  assert.match((await server.api('GET', `/workflows/${id}/draft`)).definition, /title: Typed at the end/);

  // The room is joined again: who comes to it is seen.
  await withPage(browser, 'who comes after', { isSignedIn: false, expected: REFUSED }, async (other) => {
    await other.context().addCookies([await login()]);
    await open(other, `/workflows/${id}/edit`);
    await page.getByRole('list', { name: 'Also here' }).getByRole('listitem').waitFor();
  });
});

test('a write with the cookie needs the token, and comes from our own pages', async () => {
  const cookie = await login();
  const csrf = await tokenOf(cookie);
  const body = { definition: GREET.replace('name: greet', 'name: from-elsewhere') };
  const write = (given) => as(cookie, 'POST', '/workflows', { body, ...given });
  assert.equal((await write({ csrf, origin: 'https://example.org' })).status, 403);
  assert.equal((await write({ csrf, origin: 'null' })).status, 403);
  const without = await write({});
  assert.equal(without.status, 403);
  assert.equal(without.body.code, 'csrf_token_wrong');
  assert.equal((await write({ csrf: 'another' })).body.code, 'csrf_token_wrong');
  assert.equal((await write({ csrf })).status, 201);
});

journey('a person ends a session of theirs, and changes the password', async (page) => {
  await page.context().addCookies([await login()]);
  const elsewhere = await login();
  await open(page, '/me');
  await page.getByRole('heading', { name: 'Your account' }).waitFor();
  await page.getByText('this browser', { exact: true }).waitFor();
  await accessible(page, '/me');
  await page.setViewportSize({ width: 320, height: 780 });
  await fits(page, '/me');
  await page.setViewportSize({ width: 1360, height: 820 });

  // The other ones were made by this test, with node's own name for itself.
  const others = page.getByRole('button', { name: /^End the session of/ });
  const before = await others.count();
  await others.first().focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction((count) => document.querySelectorAll('[aria-label^="End the session of"]').length < count, before);

  const next = `${OWNER.password} too`;
  await page.getByLabel('Password now').fill('not that one');
  await page.getByLabel('New password').fill(next);
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: /\w/ }).first().waitFor();
  await page.getByLabel('Password now').and(page.locator(':focus')).waitFor();
  await page.getByLabel('Password now').fill(OWNER.password);
  await page.getByLabel('New password').fill(next);
  await page.keyboard.press('Enter');
  await page.getByText('Your password is changed').waitFor();
  // All others have ended, and this one goes on.
  assert.equal((await as(elsewhere, 'GET', '/me/sessions')).status, 401);
  await page.waitForFunction(() => document.querySelectorAll('[aria-label^="End the session of"]').length === 0);
  await page.getByLabel('Password now').fill(next);
  await page.getByLabel('New password').fill(OWNER.password);
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('input[name="old"]').value === '');
  await login();
});

// The last one: nobody signs in for a while after it.
journey('who has forgotten the password gives themselves another one by a link', async (page) => {
  const before = await login();
  const { url } = await server.api('POST', '/auth/links', { name: OWNER.name });
  await page.goto(url);
  await page.getByRole('heading', { name: 'Give yourself a new password' }).waitFor();
  await accessible(page, 'a new password by a link');
  await enter(page, 'somebody.else', OWNER.password);
  await page.getByText('The link is for somebody of another name').waitFor();
  await page.getByLabel('Name', { exact: true }).fill(OWNER.name);
  await page.keyboard.press('Enter');
  await at(page, '/dashboard');
  assert.equal((await as(before, 'GET', '/workflows')).status, 401);
});

journey('five wrong passwords lock the account', async (page) => {
  await open(page, '/login');
  await enter(page, OWNER.name, 'wrong password 1');
  const said = page.getByRole('alert').filter({ hasText: /\w/ });
  for (let time = 2; time <= 5; time += 1) {
    await said.waitFor();
    await page.getByLabel('Password', { exact: true }).and(page.locator(':focus')).waitFor();
    await page.keyboard.type(`wrong password ${time}`);
    const refused = page.waitForResponse((response) => response.url().endsWith('/auth/login') && response.status() === 401);
    await page.keyboard.press('Enter');
    await refused;
  }
  await said.waitFor();
  await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await page.keyboard.press('Enter');
  await said.filter({ hasText: /min/ }).waitFor();
  await at(page, '/login');
});
