// Tests of the Messages API with Anthropic's TypeScript SDK.
//
// The oracle: the result that the SDK accumulates from a stream equals the unstreamed response to the same request.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { TIMEOUT, start } from './servers.mjs';

const MODEL = 'claude-sonnet-4-6';
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC';
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
const THINKS = { thinking: { type: 'enabled', budget_tokens: 1024 } };

let servers;
let client;

before(async () => {
  // The SDK reads variables of its own.
  for (const name of Object.keys(process.env)) if (name.startsWith('ANTHROPIC_')) delete process.env[name];
  servers = await start();
  // No retries: each test gets the first response.
  client = new Anthropic({ baseURL: servers.url, apiKey: 'key', maxRetries: 0, timeout: TIMEOUT });
});

after(() => servers?.stop());

const messageRequest = (content, more = {}) => ({
  model: MODEL,
  max_tokens: 4096,
  messages: [{ role: 'user', content }],
  ...more,
});
const streamed = (request) => client.messages.stream(request).finalMessage();
const nonStreaming = (request) => client.messages.create(request);
const textOf = (message) => message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
const callsOf = (message) => message.content.filter((block) => block.type === 'tool_use');
const continued = (request, message, content) => ({
  ...request,
  messages: [...request.messages, { role: 'assistant', content: message.content }, { role: 'user', content }],
});

/** A message as JSON, without members that differ between responses and those that SDKs ignore in streams. */
function comparable(message) {
  const { id, content, usage, ...rest } = JSON.parse(JSON.stringify(message));
  assert.match(id, /^msg_/);
  const blocks = content.map((block) => {
    if (block.type === 'tool_use') assert.ok(block.id);
    if (block.type === 'redacted_thinking') assert.ok(block.data);
    const { id, data, ...comparable } = block;
    // Requests with an output format have it here.
    if (comparable.parsed_output === null) delete comparable.parsed_output;
    return comparable;
  });
  // Bedrock reports usage at the end; the SDKs read this member at the beginning only.
  delete usage.cache_creation;
  const kept = new Set(['stop_reason', 'stop_sequence']);
  const members = Object.entries(rest).filter(([name, value]) => value !== null || kept.has(name));
  return { ...Object.fromEntries(members), content: blocks, usage };
}

const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } };
const scenarios = {
  'plain text': messageRequest('Hello'),
  'text of many scripts': messageRequest('Grüße, 世界, مرحبا, 🦀👩‍👩‍👧 and \\ " \u2028 too'),
  'a long response': messageRequest('[long 3000]'),
  'an empty first delta': messageRequest('[empty-first]'),
  'block numbers that skip': messageRequest('[index-gap]'),
  'text like tags': messageRequest('[xml]'),
  'unknown events': messageRequest('[unknown-event]'),
  'an image': messageRequest([image, { type: 'text', text: 'What is this?' }]),
  'max_tokens': messageRequest('[max_tokens]'),
  'a stop sequence': messageRequest('[stop-sequence]', { stop_sequences: ['END'] }),
  'a refusal': messageRequest('[stop content_filtered]'),
  'a tool call': messageRequest('[tool]', { tools: [WEATHER, CLOCK] }),
  'parallel tool calls': messageRequest('[tools]', { tools: [WEATHER, CLOCK] }),
  'a tool call without arguments': messageRequest('[tool-empty]', { tools: [CLOCK] }),
  'thinking': messageRequest('[thinking]', THINKS),
  'redacted thinking': messageRequest('[redacted]', THINKS),
};

for (const [name, request] of Object.entries(scenarios)) {
  test(`a streamed message equals the whole one: ${name}`, async () => {
    assert.deepEqual(comparable(await streamed(request)), comparable(await nonStreaming(request)));
  });
}

test('arguments cut by max_tokens keep what is complete, wherever they are cut', async () => {
  const rich = { a: [1, -2.5, true, null, { b: 'c"\\d' }], e: { f: {}, g: [[], [false]] }, h: 'ü🦀', i: 1234, j: '' };
  const length = (text) => [...text].length;
  // fake-bedrock takes the arguments from the schema's constants and sends the first half. A long member before the
  // place of the cut and a filler behind it put the cut anywhere; sorted names stay in their order.
  const first = { A: 'x'.repeat(length(JSON.stringify(rich)) + 10) };
  const beginning = length(JSON.stringify(first));
  const end = length(JSON.stringify({ ...first, ...rich }));
  for (let cut = beginning; cut < end; cut += 1) {
    let filler = '';
    let args;
    do {
      args = { ...first, ...rich, z: filler };
      filler += 'z';
    } while (Math.floor(length(JSON.stringify(args)) / 2) < cut);
    const properties = Object.fromEntries(Object.entries(args).map(([key, value]) => [key, { const: value }]));
    const tool = { name: 'record', input_schema: { type: 'object', properties, required: Object.keys(args) } };
    const request = messageRequest('[toolcut]', { tools: [tool] });
    const [a, b] = [await streamed(request), await nonStreaming(request)];
    const kept = [...JSON.stringify(args)].slice(0, cut).join('');
    assert.equal(b.stop_reason, 'max_tokens');
    assert.deepEqual(comparable(a), comparable(b), `cut after ${kept.slice(beginning - 1)}`);
  }
});

test('events come as the SDK promises them', async () => {
  const seen = [];
  const stream = client.messages
    .stream(messageRequest('[tool]', { tools: [WEATHER] }))
    .on('text', () => seen.push('text'))
    .on('inputJson', () => seen.push('input'))
    .on('contentBlock', (block) => seen.push(`end of ${block.type}`));
  const message = await stream.finalMessage();
  assert.deepEqual([...new Set(seen)], ['text', 'end of text', 'input', 'end of tool_use']);
  assert.deepEqual(callsOf(message)[0].input, { city: 'Paris', days: 1 });
  assert.match(stream.request_id, /^req_/);
});

for (const [how, sendRequest] of Object.entries({ streamed, nonStreaming })) {
  test(`a tool loop goes round, ${how}`, async () => {
    const request = messageRequest('[tools]', { tools: [WEATHER, CLOCK] });
    const message = await sendRequest(request);
    const results = callsOf(message).map(({ id, name }) => ({
      type: 'tool_result',
      tool_use_id: id,
      content: `${name} is done`,
    }));
    const response = await sendRequest(continued(request, message, results));
    assert.equal(textOf(response), 'The tool sent: get_weather is done and get_time is done');
  });

  for (const word of ['[thinking]', '[redacted]']) {
    test(`${word} is accepted when it comes back, ${how}`, async () => {
      // fake-bedrock checks the signatures of thinking, as Bedrock does.
      const request = messageRequest(word, THINKS);
      const message = await sendRequest(request);
      assert.match(message.content[0].type, /thinking$/);
      assert.match(textOf(await sendRequest(continued(request, message, 'Go on'))), /You sent: Go on$/);
    });
  }

  test(`the second turn reads what the first one cached, ${how}`, async () => {
    const text = `${how}: ${'a long and winding system prompt. '.repeat(400)}`;
    const request = messageRequest('Hello', { system: [{ type: 'text', text, cache_control: { type: 'ephemeral' } }] });
    const first = await sendRequest(request);
    assert.ok(first.usage.cache_creation_input_tokens > 1024);
    const second = await sendRequest(continued(request, first, 'And again'));
    assert.equal(second.usage.cache_read_input_tokens, first.usage.cache_creation_input_tokens);
  });

  test(`errors have the class, the words and the id of the request, ${how}`, async () => {
    const table = [
      [messageRequest([{ type: 'text' }]), Anthropic.BadRequestError, 'invalid_request_error', /messages\.0\.content\.0\.text/],
      [{ ...messageRequest('Hello'), model: 'gpt-4o' }, Anthropic.NotFoundError, 'not_found_error', /gpt-4o/],
      [messageRequest('[throttle]'), Anthropic.RateLimitError, 'rate_limit_error', /wait before trying again/],
    ];
    for (const [request, kind, type, words] of table) {
      await assert.rejects(sendRequest(request), (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.equal(error.type, type);
        assert.match(error.apiMessage, words);
        assert.match(error.requestID, /^req_/);
        assert.equal(error.error.request_id, error.requestID);
        if (kind === Anthropic.RateLimitError) assert.ok(Number(error.headers.get('retry-after')) > 0);
        return true;
      });
    }
  });

  for (const word of ['[cut]', '[no-stop]', '[exception internalServerException]']) {
    test(`a truncated response is an error: ${word}, ${how}`, async () => {
      await assert.rejects(sendRequest(messageRequest(word)), (error) => error instanceof Anthropic.APIError && error.type === 'api_error');
    });
  }
}

test('an image reaches the model byte for byte', async () => {
  const size = Buffer.from(PNG, 'base64').length;
  const message = await nonStreaming(scenarios['an image']);
  assert.match(textOf(message), new RegExp(`I see 1 image \\(image/png, ${size} bytes\\)`));
});

test('a stream that is aborted is noticed, and the next request is served', async () => {
  const stream = client.messages.stream(messageRequest('[paced 300 10]'));
  await new Promise((resolve) => stream.once('text', resolve));
  const requestId = stream.request_id;
  stream.abort();
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  assert.equal((await servers.logged(requestId)).outcome, 'cancelled');
  assert.match(textOf(await nonStreaming(messageRequest('Hello'))), /You sent: Hello$/);
});

test('pages of models are the whole list in its order, and each can be retrieved', async () => {
  const every = (await client.models.list({ limit: 1000 })).data;
  assert.ok(every.some((model) => model.id === MODEL));
  const paged = [];
  for await (const model of client.models.list({ limit: 3 })) paged.push(model);
  assert.deepEqual(paged, every);
  for (const model of every) assert.deepEqual({ ...(await client.models.retrieve(model.id)) }, { ...model });
  const before = await client.models.list({ limit: 2, before_id: every[4].id });
  assert.deepEqual(before.data, every.slice(2, 4));
  await assert.rejects(client.models.retrieve('gpt-4o'), Anthropic.NotFoundError);
  await assert.rejects(client.models.list({ limit: 0 }), Anthropic.BadRequestError);
});

test('tokens are counted, and more words cost more', async () => {
  const count = async (content, more) => {
    const { max_tokens, ...request } = messageRequest(content, more);
    return (await client.messages.countTokens(request)).input_tokens;
  };
  const few = await count('Hello');
  assert.ok(few > 0 && (await count('Hello '.repeat(1000))) > few + 500);
  assert.ok((await count('Hello', { tools: [WEATHER, CLOCK] })) > few);
  await assert.rejects(count([{ type: 'text' }]), Anthropic.BadRequestError);
});
