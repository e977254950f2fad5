// Anthropic's TypeScript client for Bedrock, with the proxy as its endpoint.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { AnthropicBedrock } from '@anthropic-ai/bedrock-sdk';

import { TIMEOUT, start } from './servers.mjs';

const MODEL = 'us.anthropic.claude-sonnet-4-5-20250929-v1:0';
const WEATHER = {
  name: 'get_weather',
  description: 'Returns the weather.',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer' } },
    required: ['city', 'days'],
  },
};
const CLOCK = { name: 'get_time', input_schema: { type: 'object', properties: {} } };

let servers;
let client;

before(async () => {
  for (const name of Object.keys(process.env)) if (/^(ANTHROPIC|AWS)_/.test(name)) delete process.env[name];
  servers = await start();
  client = new AnthropicBedrock({
    baseURL: `${servers.url}/bedrock`,
    // AWS does not know these credentials; the proxy signs with its own.
    awsAccessKey: 'AKIANOBODY',
    awsSecretKey: 'none',
    awsRegion: 'eu-west-1',
    maxRetries: 0,
    timeout: TIMEOUT,
  });
});

after(() => servers?.stop());

const messageRequest = (content, more = {}) => ({
  model: MODEL,
  max_tokens: 4096,
  messages: [{ role: 'user', content }],
  ...more,
});
const textOf = (message) => message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
const ways = {
  streamed: (request) => client.messages.stream(request).finalMessage(),
  nonStreaming: (request) => client.messages.create(request),
};

for (const [how, sendRequest] of Object.entries(ways)) {
  test(`text comes through, ${how}`, async () => {
    const message = await sendRequest(messageRequest('Grüße, 世界, 🦀'));
    assert.match(textOf(message), /You sent: Grüße, 世界, 🦀$/u);
    assert.equal(message.stop_reason, 'end_turn');
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  });

  test(`a name of Anthropic's will do, ${how}`, async () => {
    assert.match(textOf(await sendRequest(messageRequest('Hello', { model: 'claude-opus-5-5' }))), /You sent: Hello$/);
  });

  test(`a tool loop goes round, ${how}`, async () => {
    const request = messageRequest('[tools]', { tools: [WEATHER, CLOCK] });
    const message = await sendRequest(request);
    const calls = message.content.filter((block) => block.type === 'tool_use');
    assert.deepEqual(
      calls.map(({ name, input }) => [name, input]),
      [
        ['get_weather', { city: 'Paris', days: 1 }],
        ['get_time', {}],
      ],
    );
    const results = calls.map(({ id, name }) => ({ type: 'tool_result', tool_use_id: id, content: `${name} is done` }));
    const { content } = message;
    const messages = [...request.messages, { role: 'assistant', content }, { role: 'user', content: results }];
    assert.equal(textOf(await sendRequest({ ...request, messages })), 'The tool sent: get_weather is done and get_time is done');
  });

  test(`thinking is accepted when it comes back, ${how}`, async () => {
    const request = messageRequest('[thinking]', { thinking: { type: 'enabled', budget_tokens: 1024 } });
    const { content } = await sendRequest(request);
    assert.equal(content[0].type, 'thinking');
    const messages = [...request.messages, { role: 'assistant', content }, { role: 'user', content: 'Go on' }];
    assert.match(textOf(await sendRequest({ ...request, messages })), /You sent: Go on$/);
  });

  test(`errors have their class and their words, ${how}`, async () => {
    const table = [
      [messageRequest([{ type: 'text' }]), 400, /messages\.0\.content\.0\.text/],
      [messageRequest('Hello', { model: 'gpt-4o' }), 404, /gpt-4o/],
      [messageRequest('[throttle]'), 429, /wait before trying again/],
    ];
    for (const [request, status, words] of table) {
      await assert.rejects(sendRequest(request), (error) => {
        assert.equal(error.status, status);
        assert.match(error.message, words);
        return true;
      });
    }
  });
}
