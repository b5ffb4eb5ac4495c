// The hash of everything the built pages depend on. `node scripts/stamp.mjs` exits with 0 when dist/ is up to date.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = ['package.json', 'package-lock.json', 'vite.config.ts', 'tsconfig.json', 'index.html', 'scripts', 'src'];

function* files(path) {
  if (statSync(path).isDirectory()) for (const name of readdirSync(path).sort()) yield* files(join(path, name));
  else yield path;
}

export function stamp() {
  const hash = createHash('sha256');
  for (const source of SOURCES) {
    for (const path of files(join(root, source))) hash.update(path.slice(root.length)).update('\0').update(readFileSync(path));
  }
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const kept = join(root, 'dist/.stamp');
  process.exit(existsSync(kept) && readFileSync(kept, 'utf8') === stamp() ? 0 : 1);
}
