// The previous major version of Anthropic's TypeScript SDK: another header for the key, and an older API version.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from 'sdk-0';

import { TIMEOUT, start } from './servers.mjs';

const WEATHER = {
  name: 'get_weather',
  description: 'Returns the weather.',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer' } },
    required: ['city', 'days'],
  },
};
const THINKS = { thinking: { type: 'enabled', budget_tokens: 1024 } };

let servers;
let client;
let sent;

before(async () => {
  for (const name of Object.keys(process.env)) if (name.startsWith('ANTHROPIC_')) delete process.env[name];
  servers = await start();
  client = new Anthropic({
    baseURL: servers.url,
    apiKey: 'key',
    maxRetries: 0,
    timeout: TIMEOUT,
    fetch: (url, options) => {
      sent = new Headers(options.headers);
      return fetch(url, options);
    },
  });
});

after(() => servers?.stop());

const messageRequest = (content, more = {}) => ({
  model: 'claude-sonnet-4-6',
  max_tokens: 4096,
  messages: [{ role: 'user', content }],
  ...more,
});
const streamed = (request) => client.messages.stream(request).finalMessage();
const nonStreaming = (request) => client.messages.create(request);
const textOf = (message) => message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');

/** Removes ids, signatures, null, and usage that only the beginning of a stream has. */
const comparable = (message) => {
  const { id, ...rest } = message;
  assert.match(id, /^msg_/);
  const skipped = new Set(['cache_creation', 'parsed_output', 'data']);
  return JSON.parse(
    JSON.stringify(rest, (name, value) => {
      if (value === null || skipped.has(name) || (name === 'id' && /^toolu/.test(value))) return undefined;
      return value;
    }),
  );
};

const scenarios = {
  'text': messageRequest('Hello'),
  'a long response': messageRequest('[long 500]'),
  'sampling': messageRequest('Hello', { temperature: 0.5, top_k: 5 }),
  'a stop sequence': messageRequest('[stop-sequence]', { stop_sequences: ['END'] }),
  'max_tokens': messageRequest('[max_tokens]'),
  'parallel tool calls': messageRequest('[tools]', { tools: [WEATHER, { ...WEATHER, name: 'get_wind' }] }),
  'thinking': messageRequest('[thinking]', THINKS),
  'redacted thinking': messageRequest('[redacted]', THINKS),
};

for (const [name, request] of Object.entries(scenarios)) {
  test(`a streamed message equals the whole one: ${name}`, async () => {
    assert.deepEqual(comparable(await streamed(request)), comparable(await nonStreaming(request)));
  });
}

test('this major names its key and its version in the old way', async () => {
  await nonStreaming(messageRequest('Hello'));
  assert.equal(sent.get('x-api-key'), 'key');
  assert.equal(sent.get('authorization'), null);
  assert.equal(sent.get('anthropic-version'), '2023-06-01');
});

for (const [how, sendRequest] of Object.entries({ streamed, nonStreaming })) {
  test(`a tool loop goes round, ${how}`, async () => {
    const request = messageRequest('[tool]', { tools: [WEATHER] });
    const { content } = await sendRequest(request);
    const call = content.find((block) => block.type === 'tool_use');
    assert.deepEqual(call.input, { city: 'Paris', days: 1 });
    const result = { type: 'tool_result', tool_use_id: call.id, content: 'rain' };
    const messages = [...request.messages, { role: 'assistant', content }, { role: 'user', content: [result] }];
    assert.equal(textOf(await sendRequest({ ...request, messages })), 'The tool sent: rain');
  });

  test(`thinking is accepted when it comes back, ${how}`, async () => {
    const request = messageRequest('[thinking]', THINKS);
    const { content } = await sendRequest(request);
    const messages = [...request.messages, { role: 'assistant', content }, { role: 'user', content: 'Go on' }];
    assert.match(textOf(await sendRequest({ ...request, messages })), /You sent: Go on$/);
  });

  test(`errors have their class and their words, ${how}`, async () => {
    const table = [
      [messageRequest([{ type: 'text' }]), Anthropic.BadRequestError, /messages\.0\.content\.0\.text/],
      [messageRequest('Hello', { model: 'gpt-4o' }), Anthropic.NotFoundError, /gpt-4o/],
      [messageRequest('[throttle]'), Anthropic.RateLimitError, /wait before trying again/],
    ];
    for (const [request, kind, words] of table) {
      await assert.rejects(sendRequest(request), (error) => error instanceof kind && words.test(error.message));
    }
    await assert.rejects(sendRequest(messageRequest('[cut]')), Anthropic.APIError);
  });
}

test('tokens are counted and models listed', async () => {
  const { model, messages } = messageRequest('Hello');
  assert.ok((await client.messages.countTokens({ model, messages })).input_tokens > 0);
  const ids = [];
  for await (const listed of client.models.list({ limit: 3 })) ids.push(listed.id);
  assert.ok(ids.length > 3 && ids.includes(model));
});
