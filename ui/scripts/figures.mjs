// How the drawing behaves at size, in Chromium with software rendering. Prints figures, and judges nothing:
// what else the machine does is in them. Give sizes to measure others: `npm run figures -- 100 500`.
import { launch } from '../e2e/browser.mjs';
import { cookies, serve } from '../e2e/server.mjs';

const SIZES = process.argv.slice(2).map(Number).filter((size) => size > 0);
/** How long a gesture is watched, in milliseconds. */
const GESTURE = 2_000;
const TIMES = 3;
/** Edits that are timed between two tabs. */
const EDITS = 60;

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

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const show = (what, ...values) => console.log(`${what.padEnd(44)} ${values.join('   ')}`);

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

async function gestures(page, what) {
  // What the machine gives when nothing moves is the most that can be had.
  for (const gesture of ['still', 'pan', 'zoom']) {
    const seen = [];
    for (let time = 0; time < TIMES; time += 1) seen.push(await frames(page, gesture));
    show(`  ${gesture}, ${what}`, `${median(seen.map((each) => each.fps))} FPS`, `longest frame ${median(seen.map((each) => each.longest))} ms`);
  }
}

/** How long an edit in one tab takes until another shows it, from the key to the drawing. */
async function together(server, browser) {
  const { id } = await server.workflow(workflow(30).replace('name: figures-30', 'name: together'));
  const context = await browser.newContext({ viewport: { width: 1360, height: 820 }, reducedMotion: 'reduce' });
  await context.addCookies(cookies());
  const [page, other] = [await context.newPage(), await context.newPage()];
  for (const each of [page, other]) {
    each.setDefaultTimeout(60_000);
    await each.goto(`${server.base}/workflows/${id}/edit`);
    await each.locator('.react-flow__node[data-id="c1"]').waitFor();
  }
  await page.getByRole('list', { name: 'Also here' }).waitFor();
  await page.locator('.react-flow__node[data-id="c1"]').click();
  await page.getByRole('tab', { name: 'Notes' }).click();
  const field = page.getByLabel('Title', { exact: true });
  await field.focus();
  await field.evaluate((element) => element.addEventListener('input', () => (globalThis.begun = performance.timeOrigin + performance.now()), true));
  const took = [];
  for (let edit = 0; edit < EDITS; edit += 1) {
    await other.evaluate(() => {
      const title = document.querySelector('.react-flow__node[data-id="c1"] .card-title');
      globalThis.seen = new Promise((resolve) => {
        const observer = new MutationObserver(() => {
          observer.disconnect();
          resolve(performance.timeOrigin + performance.now());
        });
        observer.observe(title, { characterData: true, childList: true, subtree: true });
      });
    });
    await page.keyboard.type('x');
    const seen = await other.evaluate(() => globalThis.seen);
    took.push(seen - (await page.evaluate(() => globalThis.begun)));
  }
  took.sort((a, b) => a - b);
  const at = (part) => `${took[Math.min(took.length - 1, Math.floor(took.length * part))].toFixed(1)} ms`;
  show(`an edit, seen in another tab (${EDITS} of them)`, `p50 ${at(0.5)}`, `p95 ${at(0.95)}`, `worst ${at(1)}`);
  await context.close();
}

const server = await serve();
const browser = await launch();
try {
  await together(server, browser);
  for (const size of SIZES.length > 0 ? SIZES : [100, 500, 2_000]) {
    const { id } = await server.workflow(workflow(size));
    const page = await browser.newPage({ viewport: { width: 1360, height: 820 }, reducedMotion: 'reduce' });
    await page.context().addCookies(cookies());
    page.setDefaultTimeout(60_000);
    console.log(`${size} components`);
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
    show('  open, from the navigation to the drawing', `${median(opened)} ms`);
    const parts = await page.evaluate(() => document.querySelectorAll('.canvas *').length);
    await gestures(page, `as opened (${parts} elements)`);
    await page.getByRole('button', { name: /^Fit/ }).click();
    await gestures(page, 'whole');
    await page.locator('#main').focus();
    await page.keyboard.press('0');
    await gestures(page, `actual size (${await page.evaluate(() => document.querySelectorAll('.canvas *').length)} elements)`);
    const tidied = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const observer = new PerformanceObserver((list) => {
            for (const entry of list.getEntriesByName('apg.layout')) resolve(Math.round(entry.duration * 10) / 10);
          });
          observer.observe({ entryTypes: ['measure'] });
          document.querySelector('[aria-label="Tidy"]').click();
        }),
    );
    show('  layout, in its worker', `${tidied} ms`);
    await page.close();
  }
} finally {
  await browser.close();
  await server.stop();
}
