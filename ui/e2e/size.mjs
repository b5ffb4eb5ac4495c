// What the browser has to load, compressed, against what it may be. Prints the figures, and fails beyond them.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const assets = fileURLToPath(new URL('../dist/assets/', import.meta.url));
const files = readdirSync(assets).filter((name) => /\.(js|css)$/.test(name));
const text = new Map(files.map((name) => [name, readFileSync(assets + name, 'utf8')]));
const size = new Map(files.map((name) => [name, gzipSync(text.get(name), { level: 9 }).length]));
const page = readFileSync(fileURLToPath(new URL('../dist/index.html', import.meta.url)), 'utf8');

/** A file with all it imports at once; what it imports later, and the styles of that, do not count. */
function closure(names) {
  const all = new Set();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (all.has(name) || !text.has(name)) continue;
    all.add(name);
    for (const [, found] of text.get(name).matchAll(/(?:from|import)\s*["']\.\/([^"']+)["']/g)) open.push(found);
  }
  return all;
}
const kilobytes = (names) => [...names].reduce((sum, name) => sum + size.get(name), 0) / 1_000;
const shell = closure(files.filter((name) => page.includes(name)));
const route = (prefix) => {
  const entry = files.filter((name) => name.startsWith(`${prefix}-`));
  const styles = files.filter((name) => name.endsWith('.css') && (/^canvas-/.test(name) || (prefix === 'Monitor' && /^(monitor|logs)-/i.test(name))));
  return new Set([...shell, ...closure(entry), ...styles]);
};

let over = 0;
const check = (what, measured, budget) => {
  const fails = measured > budget;
  if (fails) over += 1;
  console.log(`${fails ? 'OVER ' : '     '}${what.padEnd(34)} ${measured.toFixed(1).padStart(7)} kB of ${budget}`);
};
check('shell', kilobytes(shell), 170);
check('designer, first load', kilobytes(route('Pages')), 300);
check('monitor, first load', kilobytes(route('Monitor')), 315);
for (const [name, bytes] of [...size].sort((a, b) => b[1] - a[1]).slice(0, 3)) check(`chunk ${name}`, bytes / 1_000, 130);

for (const [name, content] of text) {
  if (/\bnew Function\(|\beval\(/.test(content)) {
    console.log(`OVER  ${name} makes code out of text, which the policy forbids`);
    over += 1;
  }
}
process.exit(over === 0 ? 0 : 1);
