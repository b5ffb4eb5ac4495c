// The budgets of the pages, and how they stand: everything is done once in Chromium with software rendering, and printed as
// one table. It judges nothing but by a word in the table: what else the machine does is in the figures. Take the release
// build (`APG_BINARY`). Give sizes to measure other drawings: `npm run figures -- 100 500`.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { accessible, launch } from '../e2e/browser.mjs';
import { EXPENSE, INVOICE, NIGHTLY, REPORT } from '../e2e/fixtures.mjs';
import { cookies, serve } from '../e2e/server.mjs';

const SIZES = process.argv.slice(2).map(Number).filter((size) => size > 0);
/** How long a gesture is watched, in milliseconds. */
const GESTURE = 1_500;
const TIMES = 3;
/** Edits that are timed between two browsers. */
const EDITS = 100;
/** Tasks of the execution whose page is opened. */
const TASKS = 10_000;
/**
 * How long tabs that nobody touches are watched, in milliseconds: right after they were opened, in sight, and behind another; and
 * how long after they were opened they count as idle.
 */
const IDLE = { opened: 30_000, after: 70_000, seen: 60_000, hidden: 60_000 };
const VIEW = { viewport: { width: 1360, height: 820 }, reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'UTC' };

const rows = [];
/** Notes a figure; `holds` is left out where there is no limit. */
const note = (what, figure, limit = '', holds = undefined) => {
  rows.push({ what, figure, limit, holds: holds === undefined ? '' : holds ? 'yes' : 'NO' });
  console.error(`${what}: ${figure}`);
};
const atMost = (what, value, limit, unit) => note(what, `${value} ${unit}`, `at most ${limit.toLocaleString('en')} ${unit}`, value <= limit);
const atLeast = (what, value, limit, unit) => note(what, `${value} ${unit}`, `at least ${limit} ${unit}`, value >= limit);

function table() {
  const columns = ['what', 'figure', 'limit', 'holds'];
  const all = [{ what: 'What', figure: 'Figure', limit: 'Limit', holds: 'Holds' }, ...rows];
  const widths = columns.map((name) => Math.max(...all.map((row) => row[name].length)));
  const line = (row) => `| ${columns.map((name, at) => row[name].padEnd(widths[at])).join(' | ')} |`;
  const [top, ...rest] = all.map(line);
  console.log([top, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rest].join('\n'));
}

/** A workflow of so many components, each after one or two of those right before it. The same each time. */
function workflow(count) {
  let state = 7;
  const next = () => (state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296) / 4_294_967_296;
  const lines = ['workflow: v1', `name: figures-${count}`, 'components:'];
  for (let at = 0; at < count; at += 1) {
    const before = new Set();
    if (at > 0) before.add(Math.max(0, at - 1 - Math.floor(next() * 6)));
    if (at > 0 && next() < 0.3) before.add(Math.floor(next() * at));
    lines.push(`  c${at}:`, '    type: set_variables', `    title: Component ${at}`);
    if (before.size > 0) lines.push(`    needs: [${[...before].map((each) => `c${each}`).join(', ')}]`);
    lines.push(`    config: { values: { number: ${at} } }`);
  }
  return `${lines.join('\n')}\n`;
}

/** Where the owner is signed in. */
async function signedIn(browser, options = {}) {
  const context = await browser.newContext({ ...VIEW, ...options });
  await context.addCookies(cookies());
  return context;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const part = (values, of) => Math.round([...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * of))] * 10) / 10;

/** Frames a second while wheel events arrive, one a frame: for panning, or with the Control key for zooming; or without any. */
function frames(page, gesture) {
  return page.evaluate(
    ({ gesture, GESTURE }) =>
      new Promise((resolve) => {
        const pane = document.querySelector('.react-flow__pane');
        const box = pane.getBoundingClientRect();
        const begin = performance.now();
        let count = 0;
        let longest = 0;
        let before = begin;
        const frame = (now) => {
          count += 1;
          longest = Math.max(longest, now - before);
          before = now;
          if (now - begin > GESTURE) {
            resolve({ fps: Math.round((count * 1_000) / (now - begin)), longest: Math.round(longest) });
            return;
          }
          requestAnimationFrame(frame);
          if (gesture === 'still') return;
          const zoom = gesture === 'zoom';
          // To and fro, so that the drawing stays in sight.
          const sign = Math.floor((now - begin) / (GESTURE / 4)) % 2 === 0 ? 1 : -1;
          pane.dispatchEvent(
            new WheelEvent('wheel', {
              deltaX: zoom ? 0 : sign * 9,
              deltaY: sign * (zoom ? 1.5 : 6),
              ctrlKey: zoom,
              clientX: box.x + box.width / 2,
              clientY: box.y + box.height / 2,
              bubbles: true,
              cancelable: true,
            }),
          );
        };
        requestAnimationFrame(frame);
      }),
    { gesture, GESTURE },
  );
}

async function gesture(page, kind) {
  const seen = [];
  for (let time = 0; time < TIMES; time += 1) seen.push(await frames(page, kind));
  return { fps: median(seen.map((each) => each.fps)), longest: median(seen.map((each) => each.longest)) };
}

/** What is loaded at once, as `npm run size` counts it. */
function sizes() {
  let said;
  try {
    said = execFileSync(process.execPath, [fileURLToPath(new URL('../e2e/size.mjs', import.meta.url))], { encoding: 'utf8' });
  } catch (error) {
    said = error.stdout; // Beyond a budget: the table says which.
  }
  for (const [, what, kilobytes, budget] of said.matchAll(/^(?:OVER)? *((?:shell|designer|monitor).*?) +([\d.]+) kB of (\d+)$/gm)) {
    atMost(`${what}, gzipped`, Number(kilobytes), Number(budget), 'kB');
  }
}

/** How long an edit takes to another browser: until its message is there, until the drawing has it, and until it is painted. */
async function together(server, browser) {
  const { id } = await server.workflow(workflow(30).replace('name: figures-30', 'name: together'));
  const open = async () => {
    // Of its own context: what travels between tabs of one browser does not go over the server.
    const context = await signedIn(browser);
    await context.addInitScript(() => {
      globalThis.arrived = [];
      globalThis.WebSocket = class extends WebSocket {
        constructor(...given) {
          super(...given);
          this.addEventListener('message', ({ data }) => {
            const [kind, what] = data instanceof ArrayBuffer ? new Uint8Array(data) : [];
            // An update of the document, in the protocol of y-websocket.
            if (kind === 0 && what === 2) globalThis.arrived.push(performance.timeOrigin + performance.now());
          });
        }
      };
    });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    await page.goto(`${server.base}/workflows/${id}/edit`);
    await page.locator('.react-flow__node[data-id="c1"]').waitFor();
    return page;
  };
  const [page, other] = [await open(), await open()];
  await page.getByRole('list', { name: 'Also here' }).waitFor();
  await page.locator('.react-flow__node[data-id="c1"]').click();
  await page.getByRole('tab', { name: 'Notes' }).click();
  const field = page.getByLabel('Title', { exact: true });
  await field.focus();
  await field.evaluate((element) => element.addEventListener('input', () => (globalThis.begun = performance.timeOrigin + performance.now()), true));
  const took = { arrived: [], drawn: [], painted: [] };
  for (let edit = 0; edit < EDITS; edit += 1) {
    await other.evaluate(() => {
      globalThis.arrived.length = 0;
      const title = document.querySelector('.react-flow__node[data-id="c1"] .card-title');
      globalThis.seen = new Promise((resolve) => {
        const now = () => performance.timeOrigin + performance.now();
        const observer = new MutationObserver(() => {
          observer.disconnect();
          const [arrived] = globalThis.arrived;
          const drawn = now();
          // A message posted in a frame is read when that frame has been painted.
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => resolve({ arrived, drawn, painted: now() });
          requestAnimationFrame(() => port2.postMessage(undefined));
        });
        observer.observe(title, { characterData: true, childList: true, subtree: true });
      });
    });
    await page.keyboard.type('x');
    const seen = await other.evaluate(() => globalThis.seen);
    const begun = await page.evaluate(() => globalThis.begun);
    for (const name of Object.keys(took)) took[name].push(seen[name] - begun);
  }
  atMost(`an edit arrives in another browser, p95 of ${EDITS}`, part(took.arrived, 0.95), 50, 'ms');
  note('the same, half of them', `${part(took.arrived, 0.5)} ms`);
  atMost('an edit is in the drawing of another browser, p95', part(took.drawn, 0.95), 50, 'ms');
  note('the same, half of them', `${part(took.drawn, 0.5)} ms`);
  note('an edit is painted in another browser, half and p95', `${part(took.painted, 0.5)} and ${part(took.painted, 0.95)} ms`);
  await page.context().close();
  await other.context().close();
}

/** Opens a drawing, moves it, and lays it out. */
async function drawing(server, browser, size) {
  const { id } = await server.workflow(workflow(size));
  const page = await (await signedIn(browser)).newPage();
  page.setDefaultTimeout(60_000);
  // Once before, so that the parts of the pages are in the browser.
  await page.goto(`${server.base}/workflows`);
  await page.getByRole('heading', { name: 'Workflows' }).waitFor();
  const opened = [];
  for (let time = 0; time < TIMES; time += 1) {
    await page.goto(`${server.base}/workflows`);
    await page.getByRole('heading', { name: 'Workflows' }).waitFor();
    await page.goto(`${server.base}/workflows/${id}/edit`, { waitUntil: 'commit' });
    opened.push(
      await page.evaluate(
        () =>
          new Promise((resolve) => {
            // Drawn is what two frames later still stands: the first has laid it out, the second has painted it.
            const look = () => {
              if (document.querySelector('.canvas .overview, .canvas .react-flow__node')) requestAnimationFrame(() => requestAnimationFrame(() => resolve(Math.round(performance.now()))));
              else requestAnimationFrame(look);
            };
            look();
          }),
      ),
    );
  }
  const name = `${size.toLocaleString('en')} components`;
  const parts = () => page.evaluate(() => document.querySelectorAll('.canvas *').length);
  if (size <= 500) atMost(`${name}: opened`, median(opened), 1_000, 'ms');
  else note(`${name}: opened`, `${median(opened)} ms`);
  // What the machine gives when nothing moves is the most that can be had.
  note(`${name}: nothing moves`, `${(await gesture(page, 'still')).fps} FPS`);
  await page.getByRole('button', { name: /^Fit/ }).click();
  const level = async (where) => {
    const count = await parts();
    for (const [kind, does] of [['pan', 'panned'], ['zoom', 'zoomed']]) {
      const { fps, longest } = await gesture(page, kind);
      const what = `${name}: ${does}, ${where}`;
      if (kind === 'pan') atLeast(what, fps, 50, 'FPS');
      else note(what, `${fps} FPS`);
      note('the same, longest frame, elements', `${longest} ms, ${count}`);
    }
  };
  await level('the whole in sight');
  await page.locator('#main').focus();
  await page.keyboard.press('0');
  await level('actual size');
  const laidOut = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const observer = new PerformanceObserver((list) => {
          for (const entry of list.getEntriesByName('apg.layout')) resolve(Math.round(entry.duration * 10) / 10);
        });
        observer.observe({ entryTypes: ['measure'] });
        document.querySelector('[aria-label="Tidy"]').click();
      }),
  );
  atMost(`${name}: laid out, in its worker`, laidOut, 100, 'ms');
  await page.close();
}

const LONG = `workflow: v1
name: many-tasks
components:
  each:
    type: for_loop
    config: { to: ${TASKS}, max_parallel: 200 }
    components:
      one:
        type: map
        config: { rows: ['\${{ item }}'], expression: item * 2 }
`;

/** Waits for the end of an execution, without asking more often than is of use. */
async function ended(server, id) {
  for (let tries = 0; tries < 600; tries += 1) {
    const { status } = await server.api('GET', `/executions/${id}`);
    if (!['pending', 'running'].includes(status)) return status;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error('the execution did not end within five minutes');
}

/** What of an address is its kind: without what names one thing. */
const kindOf = (url) => new URL(url).pathname.replace('/api/v1/', '').replace(/[a-z]+_[0-9a-f-]{20,}/g, '{id}');

/** Opens the page of a long execution, and lists what it asks for. */
async function execution(server, browser) {
  const { executions } = await server.workflow(LONG, {});
  const status = await ended(server, executions[0]);
  const page = await (await signedIn(browser)).newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${server.base}/executions`);
  await page.getByRole('heading', { name: 'Executions' }).waitFor();
  const asked = [];
  let read = 0;
  const reading = [];
  page.on('response', (response) => {
    if (!response.url().includes('/api/')) return;
    asked.push(kindOf(response.url()));
    if (!/\/tasks$/.test(new URL(response.url()).pathname)) return;
    reading.push(response.json().then((body) => (read += body.items.length), () => undefined));
  });
  const took = [];
  for (let time = 0; time < TIMES; time += 1) {
    await page.goto(`${server.base}/executions`);
    await page.getByRole('heading', { name: 'Executions' }).waitFor();
    await Promise.all(reading.splice(0));
    [asked.length, read] = [0, 0];
    await page.goto(`${server.base}/executions/${executions[0]}`, { waitUntil: 'commit' });
    // Of use is it when it says how it went, shows where, and takes an order.
    took.push(
      await page.evaluate(
        () =>
          new Promise((resolve) => {
            const isThere = () => document.querySelector('.page-head .status') && document.querySelector('.page-head button') && document.querySelector('.canvas .react-flow__node .card-status') && document.querySelector('.timeline-row');
            const look = () => {
              if (isThere()) requestAnimationFrame(() => requestAnimationFrame(() => resolve(Math.round(performance.now()))));
              else requestAnimationFrame(look);
            };
            look();
          }),
      ),
    );
    await page.waitForLoadState('networkidle', { timeout: 5_000 }).catch(() => undefined); // Its stream may stay open.
  }
  await Promise.all(reading);
  const name = `${TASKS.toLocaleString('en')} tasks (${status})`;
  atMost(`${name}: the page is of use`, median(took), 1_500, 'ms');
  const kinds = new Map();
  for (const kind of asked) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  note(`${name}: requests`, `${asked.length}`);
  for (const [kind, count] of kinds) note(`  ${kind}`, `${count}`);
  note(`${name}: tasks it reads`, `${read}`, 'never all', read < TASKS);
  await page.close();
}

/** Every page there is, and a word that stands on it. */
async function pagesOf(server) {
  const nightly = await server.workflow(NIGHTLY, {});
  const invoice = await server.workflow(INVOICE, {});
  const expense = await server.workflow(EXPENSE, { amount: 900 });
  await server.workflow(REPORT);
  for (const { executions } of [nightly, invoice]) await ended(server, executions[0]);
  const [failed, long] = [invoice.executions[0], nightly.executions[0]];
  return [
    ['/dashboard', 'Newest executions'],
    ['/workflows', 'New workflow'],
    ['/workflows/new', 'Publish'],
    [`/workflows/${nightly.id}/edit`, 'Publish'],
    ['/executions', 'Executions'],
    [`/executions/${failed}`, 'Execute again'],
    ...['tasks', 'logs', 'data', 'journal'].map((tab) => [`/executions/${long}?tab=${tab}`, 'Execute again']),
    [`/executions/${failed}?task=refuse`, 'Execute again'],
    [`/executions/${expense.executions[0]}?tab=people`, 'People'],
    ['/schedules', 'quarters'],
    ['/approvals', 'Approvals'],
    ['/workers', 'Workers'],
  ];
}

async function findings(server, browser, pages) {
  let found = 0;
  for (const colorScheme of ['light', 'dark']) {
    const page = await (await signedIn(browser, { colorScheme })).newPage();
    for (const [path, text] of pages) {
      await page.goto(server.base + path);
      await page.locator('main').getByText(text).first().waitFor();
      await page.waitForFunction(() => document.querySelector('.loading') === null);
      await accessible(page, `${path}, ${colorScheme}`).catch((error) => {
        if (!Array.isArray(error.actual)) throw error;
        found += error.actual.length;
        for (const each of error.actual) console.error(each);
      });
    }
    await page.close();
  }
  atMost(`serious findings of axe on ${pages.length} pages, light and dark`, found, 0, 'findings');
}

/**
 * What pages that nobody touches ask for: while somebody may still look, who has opened them just now; in sight, and left; and in
 * a tab behind another, where nobody sees them.
 */
async function idle(server, browser, pages) {
  const watched = [];
  for (const [path, text] of pages) {
    const context = await signedIn(browser);
    const page = await context.newPage();
    await page.goto(server.base + path);
    await page.locator('main').getByText(text).first().waitFor();
    watched.push({ path, page, asked: [] });
  }
  // What a page reads after it is drawn belongs to its beginning.
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  for (const { page, asked } of watched) page.on('request', (request) => asked.push(kindOf(request.url())));
  const watch = async (name) => {
    for (const { asked } of watched) asked.length = 0;
    await new Promise((resolve) => setTimeout(resolve, IDLE[name]));
    for (const each of watched) each[name] = [...each.asked];
  };
  await watch('opened');
  await new Promise((resolve) => setTimeout(resolve, IDLE.after - IDLE.opened));
  await watch('seen');
  for (const { page } of watched) {
    // The headless browser has every tab in front.
    await page.evaluate(() => {
      Object.defineProperties(document, { visibilityState: { get: () => 'hidden' }, hidden: { get: () => true } });
      document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
    });
  }
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await watch('hidden');
  for (const { path, page, ...each } of watched) {
    const name = path.replace(/[a-z]+_[0-9a-f-]{20,}/, '{id}');
    for (const [where, words] of [['hidden', 'a tab behind another'], ['seen', 'in sight and untouched']]) {
      const kinds = [...new Set(each[where])].join(', ');
      atMost(`${name}: ${words}, requests a minute${kinds && ` (${kinds})`}`, (each[where].length * 60_000) / IDLE[where], 1, 'requests');
    }
    note(`${name}: just opened`, `${(each.opened.length * 60_000) / IDLE.opened} requests a minute`);
    await page.context().close();
  }
}

sizes();
const server = await serve();
const browser = await launch();
try {
  await together(server, browser);
  for (const size of SIZES.length > 0 ? SIZES : [500, 2_000]) await drawing(server, browser, size);
  await execution(server, browser);
  const pages = await pagesOf(server);
  await findings(server, browser, pages);
  await idle(server, browser, pages.filter(([path]) => !path.includes('?')));
} finally {
  await browser.close();
  await server.stop();
}
table();
