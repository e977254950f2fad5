// The models that our pages name: the newest SDK warns about none of them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { TIMEOUT, start } from './servers.mjs';

const PAGES = ['README.md', 'README.es.md', '.env.example', 'docs/migration.md', 'docs/operations.md'];
const NAME = /\bclaude-(?:[0-9]|fable|haiku|mythos|opus|sonnet)[a-z0-9-]*/g;

let servers;
let client;

before(async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('ANTHROPIC_')) delete process.env[name];
  servers = await start();
  client = new Anthropic({ baseURL: servers.url, apiKey: 'key', maxRetries: 0, timeout: TIMEOUT });
});

after(() => servers?.stop());

/** The models in `page`, without the versions of Bedrock's ids. */
async function modelsOf(page) {
  const text = await readFile(new URL(`../../${page}`, import.meta.url), 'utf8');
  const names = text.match(NAME) ?? [];
  return [...new Set(names.map((name) => name.replace(/-v\d+$/, '')))].sort();
}

/** What the SDK warns about while it sends a request to `model`. */
async function warningsAbout(t, model) {
  const warn = t.mock.method(console, 'warn', () => {});
  await client.messages.create({ model, max_tokens: 64, messages: [{ role: 'user', content: 'Hello' }] });
  warn.mock.restore();
  return warn.mock.calls.map((call) => String(call.arguments[0]));
}

test('the SDK warns about deprecated models', async (t) => {
  const warnings = await warningsAbout(t, 'claude-sonnet-4-5');
  assert.match(warnings.join(), /deprecated/);
});

for (const page of PAGES) {
  test(`the SDK warns about no model in ${page}`, async (t) => {
    const models = await modelsOf(page);
    if (page === 'README.md') assert.notEqual(models.length, 0);
    for (const model of models) assert.deepEqual(await warningsAbout(t, model), [], model);
  });
}
