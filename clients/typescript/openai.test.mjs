// Tests of chat completions with OpenAI's TypeScript SDK.
//
// The oracle: the result that the SDK accumulates from a stream equals the unstreamed response to the same request.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';

import { TIMEOUT, start } from './servers.mjs';

const MODEL = 'claude-sonnet-4-6';
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC';
const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city', 'days'],
    },
  },
};
const CLOCK = { type: 'function', function: { name: 'get_time', parameters: { type: 'object', properties: {} } } };
const PLACE = {
  type: 'json_schema',
  json_schema: {
    name: 'place',
    strict: true,
    schema: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};

let servers;
let clients;

before(async () => {
  // The SDK reads variables of its own.
  for (const name of Object.keys(process.env)) if (name.startsWith('OPENAI_')) delete process.env[name];
  servers = await start();
  // No retries: each test gets the first response.
  const client = (base) =>
    new OpenAI({ baseURL: `${servers.url}${base}`, apiKey: 'key', maxRetries: 0, timeout: TIMEOUT });
  // Both base URLs: the documented one, and the address of the Messages API.
  clients = { '/v1': client('/v1'), '/v1/messages': client('/v1/messages') };
});

after(() => servers?.stop());

const messageRequest = (content, more = {}) => ({
  model: MODEL,
  max_completion_tokens: 4096,
  messages: [{ role: 'user', content }],
  ...more,
});
const nonStreaming = (client, request) => client.chat.completions.create(request);
async function streamed(client, request) {
  const stream = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
  let thoughts = '';
  // The SDK has no type for these and keeps the last delta only.
  stream.on('chunk', ({ choices: [choice] }) => (thoughts += choice?.delta.reasoning_content ?? ''));
  const completion = await stream.finalChatCompletion();
  if (thoughts) completion.choices[0].message.reasoning_content = thoughts;
  return completion;
}

/** A completion without members that differ between responses. */
function comparable({ id, created, choices: [{ message, finish_reason }], usage }) {
  assert.match(id, /^chatcmpl-/);
  assert.ok(created > 0);
  const { content, reasoning_content: thoughts, tool_calls: calls = [] } = message;
  const called = calls.map(({ id, function: { name, arguments: json } }) => {
    assert.ok(id);
    return { name, arguments: json };
  });
  const { prompt_tokens: sentRequest, completion_tokens: responded, total_tokens: total } = usage;
  assert.equal(sentRequest + responded, total);
  return { content: content || null, thoughts: thoughts ?? null, called, finish_reason, sentRequest, responded };
}

const scenarios = {
  'plain text': messageRequest('Hello'),
  'text of many scripts': messageRequest('Grüße, 世界, مرحبا, 🦀👩‍👩‍👧 and \\ " \u2028 too'),
  'a long response': messageRequest('[long 2000]'),
  'text like tags': messageRequest('[xml]'),
  'an image': messageRequest([
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } },
  ]),
  'a tool call': messageRequest('[tool]', { tools: [WEATHER, CLOCK] }),
  'parallel tool calls': messageRequest('[tools]', { tools: [WEATHER, CLOCK] }),
  'a tool call without arguments': messageRequest('[tool-empty]', { tools: [CLOCK] }),
  'thinking': messageRequest('[thinking]', { reasoning_effort: 'high' }),
  'a schema': messageRequest('Where?', { response_format: PLACE }),
};

for (const base of ['/v1', '/v1/messages']) {
  for (const [name, request] of Object.entries(scenarios)) {
    test(`the accumulated stream equals the unstreamed completion: ${name} at ${base}`, async () => {
      const [once, piecewise] = [await nonStreaming(clients[base], request), await streamed(clients[base], request)];
      assert.deepEqual(comparable(piecewise), comparable(once));
    });
  }

  for (const [how, sendRequest] of Object.entries({ nonStreaming, streamed })) {
    test(`a tool loop goes round, ${how} at ${base}`, async () => {
      const request = messageRequest('[tools]', { tools: [WEATHER, CLOCK], reasoning_effort: 'medium' });
      const { message } = (await sendRequest(clients[base], request)).choices[0];
      assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Paris', days: 1 });
      const results = message.tool_calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: 'rain' }));
      const messages = [...request.messages, message, ...results];
      const response = await sendRequest(clients[base], { ...request, messages });
      assert.match(response.choices[0].message.content, /rain/);
    });
  }

  test(`a response follows a schema at ${base}`, async () => {
    const { choices } = await clients[base].chat.completions.parse(messageRequest('Where?', { response_format: PLACE }));
    assert.equal(typeof choices[0].message.parsed.city, 'string');
  });

  test(`errors have their class and their words at ${base}`, async () => {
    const address = [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }];
    const table = [
      [messageRequest(address), OpenAI.BadRequestError, { param: 'messages.0.content.0.image_url.url' }],
      [messageRequest('Hello', { model: 'gpt-4o' }), OpenAI.NotFoundError, { code: 'model_not_found' }],
      [messageRequest('[throttle]'), OpenAI.RateLimitError, { code: 'rate_limit_exceeded' }],
    ];
    for (const [request, kind, members] of table) {
      await assert.rejects(nonStreaming(clients[base], request), (error) => {
        assert.ok(error instanceof kind);
        for (const [name, value] of Object.entries(members)) assert.equal(error[name], value);
        return /^req_/.test(error.requestID);
      });
    }
    await assert.rejects(streamed(clients[base], messageRequest('[throttle-mid]')), OpenAI.APIError);
  });

  test(`a client that leaves is noticed at ${base}`, async () => {
    const request = { ...messageRequest('[paced 200 20]'), stream: true };
    const { data: stream, response } = await clients[base].chat.completions.create(request).withResponse();
    for await (const chunk of stream) {
      assert.equal(chunk.choices[0].delta.role, 'assistant');
      break;
    }
    const line = await servers.logged(response.headers.get('x-request-id'));
    assert.equal(line.outcome, 'cancelled');
  });

  test(`all models are listed at ${base}`, async () => {
    const ids = [];
    for await (const { id, object } of clients[base].models.list()) {
      assert.equal(object, 'model');
      ids.push(id);
    }
    assert.ok(ids.length >= 20 && ids.includes(MODEL));
  });
}
