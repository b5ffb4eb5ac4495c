// Starts the program that the pages are embedded in, on a free port with nothing in its database.
//
// `APG_SHAPE` says as what: `embedded` (also when it is not set) is one process with SQLite, `cluster` is a process a role on
// PostgreSQL, RabbitMQ and Redis, with a database and queues of its own for each server.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
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

const SHAPES = ['embedded', 'cluster'];
const SERVICES = ['DATABASE_URL', 'AMQP_URL', 'REDIS_URL'];
/** What a process is given to leave, in milliseconds, before it is killed. */
const LEAVE_WITHIN = 40_000;

/** What the server is made of. */
export function shape() {
  const found = process.env.APG_SHAPE || 'embedded';
  if (!SHAPES.includes(found)) throw new Error(`APG_SHAPE is ${found}: it is one of ${SHAPES.join(', ')}`);
  return found;
}

/** The services of the environment. */
function services() {
  const missing = SERVICES.filter((name) => !process.env[name]);
  if (missing.length > 0) {
    throw new Error(`${missing.join(', ')} not set, and a cluster needs PostgreSQL, RabbitMQ and Redis: run 'make ui-e2e', or 'deploy/dev/services run' before the command`);
  }
  return Object.fromEntries(SERVICES.map((name) => [name, process.env[name]]));
}

let databases = 0;

/** A database that nobody else uses. */
function database(url) {
  databases += 1;
  const name = `apg_ui_${process.pid}_${databases}`;
  const ask = (sql) => {
    try {
      execFileSync('psql', [url, '-qc', sql], { stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      if (error.code === 'ENOENT') throw new Error('psql makes the database of a cluster: install the package postgresql-client', { cause: error });
      throw new Error(`${sql}: ${error.stderr}`, { cause: error });
    }
  };
  ask(`create database ${name}`);
  const own = new URL(url);
  own.pathname = `/${name}`;
  return { name, url: own.href, drop: () => ask(`drop database if exists ${name} with (force)`) };
}

/** Processes of the program that end together. */
function processes(folder, env) {
  const all = [];
  let log = '';
  const start = (role, settings, more = []) => {
    const child = spawn(binary(), [role, ...more, ...settings.flatMap((each) => ['--set', each])], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (log += data));
    const ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(`${role} ended with ${code ?? signal}`));
      child.once('error', (error) => resolve(`${role} did not start: ${error.message}`));
    });
    all.push({ child, ended });
  };
  const stop = () =>
    Promise.all(
      all.map(async ({ child, ended }) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
        let isLate = false;
        child.kill('SIGTERM');
        const late = setTimeout(() => (isLate = child.kill('SIGKILL')), LEAVE_WITHIN);
        const how = await ended;
        clearTimeout(late);
        if (isLate) throw new Error(`${how}, because it did not leave within ${LEAVE_WITHIN / 1_000} s:\n${log}`);
      }),
    );
  return { start, stop, log: () => log, anyEnd: () => Promise.race(all.map(({ ended }) => ended)) };
}

/** Brings the tables of a database up to date. */
function migrate(folder, env, settings) {
  execFileSync(binary(), ['migrate', ...settings.flatMap((each) => ['--set', each])], { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Waits until somebody would run a task. */
async function ready(url, running) {
  let isOver = false;
  const end = running.anyEnd().then((how) => {
    isOver = true;
    return how;
  });
  for (let tries = 0; tries < 600; tries += 1) {
    const health = await fetch(`${url}/health/detailed`).then(
      (response) => response.json(),
      () => undefined,
    );
    if (health?.status === 'ok' && health.workers > 0) return;
    if (isOver) throw new Error(await end);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('no worker within a minute');
}

/** The person whom the tests are. */
export const OWNER = { name: 'ada', password: 'a correct horse and its battery' };

/** Begins a session by a name and a password, or by the owner link. Answers with its cookie, as browsers are given it. */
export async function signIn(url, path, body) {
  const response = await fetch(`${url}/api/v1${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: url },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
  const [, name, value] = response.headers.getSetCookie().map((each) => /^((?:__Host-)?sid)=([^;]+)/.exec(each)).find(Boolean) ?? [];
  if (!value) throw new Error(`POST ${path} set no cookie of a session`);
  return { name, value, url };
}

/** The token of the owner link, which the server prints when it starts for the first time. */
async function ownerToken(running) {
  for (let tries = 0; tries < 100; tries += 1) {
    const token = /\/workflow_orchestration\/setup#([\w.~-]+)/.exec(running.log())?.[1];
    if (token) return token;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('it printed no owner link');
}

const open = new Set();
/** Cookies of the owner's sessions at the servers that run: with them pages are signed in. */
export const cookies = () => [...open];

/** A running server; `stop` ends it and removes its data. */
export const serve = (...settings) => serveAs({}, ...settings);

/** A server that is started with further arguments, in a folder of the repository; without an owner when that is asked for. */
export async function serveAs({ args = [], cwd, hasOwner = true }, ...settings) {
  const folder = mkdtempSync(join(tmpdir(), 'apg-ui-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const key = randomBytes(20).toString('hex');
  const env = { ...process.env, APG_API_KEY: key };
  for (const name of SERVICES) delete env[name];
  let own;
  if (shape() === 'cluster') {
    const given = services();
    own = database(given.DATABASE_URL);
    Object.assign(env, given, { DATABASE_URL: own.url });
    settings = [`amqp.namespace=${own.name}`, ...settings];
  }
  settings = [`app.data_folder=${folder}`, ...settings];
  const running = processes(cwd ?? folder, env);
  let session;
  let token;
  const stop = async () => {
    open.delete(session);
    await running.stop();
    own?.drop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const listen = `api.listen=127.0.0.1:${port}`;
    if (own) migrate(folder, env, settings);
    if (own) for (const role of ['api', 'coordinator', 'worker']) running.start(role, role === 'api' ? [listen, ...settings] : settings);
    else running.start('serve', [listen, ...settings], args);
    await ready(url, running);
    token = await ownerToken(running);
    if (hasOwner) {
      session = await signIn(url, '/setup', { token, ...OWNER });
      open.add(session);
    }
  } catch (error) {
    await stop();
    throw new Error(`the server did not start (${error.message}):\n${running.log()}`, { cause: error });
  }
  /** One request to the API; a refusal is an error. */
  const api = async (method, path, body) => {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { 'content-type': 'application/json', 'x-api-key': key },
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
  return { url, base: `${url}/workflow_orchestration`, ownerLink: `${url}/workflow_orchestration/setup#${token}`, api, workflow, stop, log: running.log };
}
