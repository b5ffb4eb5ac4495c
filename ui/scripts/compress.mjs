// Writes a .gz and a .br beside each built asset, for the server to choose from, and the stamp that says which
// sources dist/ was built from. The page itself is not compressed: it carries a nonce.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { stamp } from './stamp.mjs';

const dist = fileURLToPath(new URL('../dist', import.meta.url));

function* files(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else yield path;
  }
}

for (const path of files(join(dist, 'assets'))) {
  if (!/\.(js|css|svg|json)$/.test(path)) continue;
  const bytes = readFileSync(path);
  if (bytes.length < 512) continue;
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
}
writeFileSync(join(dist, '.stamp'), stamp());
