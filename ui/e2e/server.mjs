// Starts the program that the pages are embedded in, on a free port with an empty data folder.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** The program: `APG_BINARY`, else the debug build. */
export function binary() {
  const path = process.env.APG_BINARY ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug', 'apg');
  if (!existsSync(path)) throw new Error(`${path} is not there: build it with 'cargo build -p cli --bin apg', or name one in APG_BINARY`);
  return path;
}

/** A running server; `stop` ends it and removes its data. */
export async function serve(...settings) {
  const folder = mkdtempSync(join(tmpdir(), 'apg-ui-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(binary(), ['serve', '--set', `api.listen=127.0.0.1:${port}`, ...settings.flatMap((each) => ['--set', each])], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (log += data));
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  for (let tries = 0; ; tries += 1) {
    const state = await Promise.race([
      fetch(`${url}/health`).then(
        (response) => response.ok,
        () => false,
      ),
      ended.then((code) => `ended with ${code}`),
    ]);
    if (state === true) break;
    if (typeof state === 'string' || tries > 300) {
      await stop();
      throw new Error(`the server did not start (${state}):\n${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  /** One request to the API; a refusal is an error. */
  const api = async (method, path, body) => {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  };
  /** Keeps a workflow, and executes it as often as there are sets of parameters. */
  const workflow = async (definition, ...executions) => {
    const { id } = await api('POST', '/workflows', { definition });
    const started = [];
    for (const parameters of executions) started.push((await api('POST', `/workflows/${id}/execute`, { parameters })).id);
    return { id, executions: started };
  };
  return { url, base: `${url}/workflow_orchestration`, api, workflow, stop, log: () => log };
}
