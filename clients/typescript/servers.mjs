// Servers of the tests: fake-bedrock and the proxy, as processes on free ports.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const binary = (name) => fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
// Absolute, because the processes start in a directory of their own.
const PROXY_BIN = resolve(process.env.BEDROCK_PROXY_BIN ?? binary('bedrock-proxy'));
const FAKE_BIN = resolve(process.env.FAKE_BEDROCK_BIN ?? binary('fake-bedrock'));

// Milliseconds; long enough for a loaded machine.
export const TIMEOUT = 20_000;

/** A server that writes JSON lines to its standard output. */
class Process {
  #child;
  #lines = [];
  #waiting = new Set();

  constructor(command, args, env, cwd) {
    // A new environment and an empty directory: neither this machine's AWS_* nor a .env can leak in.
    this.#child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child.on('error', (error) => this.#take({ ended: true, error }));
    this.#child.on('exit', (code) => this.#take({ ended: true, code }));
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      try {
        this.#take(JSON.parse(line));
      } catch {
        this.#take({ text: line });
      }
    });
  }

  #take(line) {
    this.#lines.push(line);
    for (const look of this.#waiting) look();
  }

  /** Waits for the first line that `wanted` accepts. */
  line(wanted) {
    return new Promise((accept, reject) => {
      const settle = (act, value) => {
        clearTimeout(deadline);
        this.#waiting.delete(look);
        act(value);
      };
      const look = () => {
        const found = this.#lines.find(wanted);
        const end = this.#lines.find((line) => line.ended);
        if (found) settle(accept, found);
        else if (end) settle(reject, new Error(`the server ended: ${JSON.stringify(this.#lines)} ${end.error ?? ''}`));
      };
      const deadline = setTimeout(() => settle(reject, new Error('the server did not write the line')), TIMEOUT);
      this.#waiting.add(look);
      look();
    });
  }

  async stop() {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill();
    const force = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(force);
  }
}

/** Both servers; `url` is the proxy's. */
export async function start() {
  const directory = await mkdtemp(join(tmpdir(), 'bedrock-proxy-'));
  const fake = new Process(FAKE_BIN, ['--listen', '127.0.0.1:0'], {}, directory);
  const { url: bedrock } = await fake.line((line) => line.url);
  const proxy = new Process(
    PROXY_BIN,
    ['serve'],
    {
      AWS_BEDROCK_ACCESS_KEY: 'AKIDEXAMPLE',
      AWS_BEDROCK_SECRET_KEY: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
      AWS_BEDROCK_REGION: 'us-east-1',
      AWS_ENDPOINT_URL_BEDROCK_RUNTIME: bedrock,
      HOST: '127.0.0.1',
      // The system chooses a free port, which is in the log.
      PORT: '0',
      LOG_OUTPUT: 'stdout',
    },
    directory,
  );
  const { address } = await proxy.line((line) => line.address);
  const url = `http://${address}`;
  const deadline = Date.now() + TIMEOUT;
  while (!(await fetch(`${url}/health`).then((response) => response.ok, () => false))) {
    if (Date.now() > deadline) throw new Error('the proxy is not healthy');
  }
  return {
    url,
    /** Waits for the access log line of a request. */
    logged: (requestId) => proxy.line((line) => line.event === 'request' && line.request_id === requestId),
    async stop() {
      await proxy.stop();
      await fake.stop();
      await rm(directory, { recursive: true });
    },
  };
}
