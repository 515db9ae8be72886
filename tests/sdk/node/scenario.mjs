// The same program as ../scenario.py, with the official client for Node:
//   node scenario.mjs openai|openai-4
import { readFileSync } from "node:fs";

const { default: OpenAI } = await import(process.argv[2]);
const about = new URL(`node_modules/${process.argv[2]}/package.json`, import.meta.url);
const { version } = JSON.parse(readFileSync(about, "utf8"));

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const { assistants, threads } = client.beta;
const { runs, messages } = threads;
// Ids within a path are named from version 5 on.
const named = !version.startsWith("4.");
const at = (run) => (named ? [run.id, { thread_id: run.thread_id }] : [run.thread_id, run.id]);
const submitting = (run, body) =>
  named
    ? [run.id, { thread_id: run.thread_id, ...body }]
    : [run.thread_id, run.id, body];
const remove = (resource, ...ids) => (resource.delete ?? resource.del).call(resource, ...ids);
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } } },
  },
};

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

const asked = (text) => threads.create({ messages: [{ role: "user", content: text }] });

async function polled(run) {
  while (["queued", "in_progress", "cancelling"].includes(run.status)) {
    await new Promise((done) => setTimeout(done, 50));
    run = await runs.retrieve(...at(run));
  }
  return run;
}

async function answerOf(run) {
  const page = await messages.list(run.thread_id, { limit: 1 });
  return page.data[0].content[0].text.value;
}

const outputsOf = (run) => ({
  tool_outputs: run.required_action.submit_tool_outputs.tool_calls.map((call) => ({
    tool_call_id: call.id,
    output: JSON.parse(call.function.arguments).city,
  })),
});

async function eventNames(stream) {
  const names = [];
  for await (const { event } of stream) {
    if (!(event === names.at(-1) && event.endsWith("delta"))) names.push(event);
  }
  return names;
}

async function manageAssistants() {
  const made = [];
  for (const n of [0, 1, 2]) {
    made.push(await assistants.create({ model: "test-model", name: `Number ${n}` }));
  }
  const changed = await assistants.update(made[0].id, { name: "Changed", metadata: { a: "b" } });
  const listed = (await all(assistants.list({ limit: 2, order: "desc" }))).slice(0, 3);
  const deleted = [];
  for (const { id } of made) deleted.push((await remove(assistants, id)).deleted);
  const left = (await all(assistants.list())).filter((one) => made.some(({ id }) => id === one.id));
  return {
    changed: [changed.name, changed.metadata],
    listed: listed.map(({ name }) => name),
    deleted,
    left: left.length,
  };
}

async function manageThreads() {
  const thread = await threads.create({ metadata: { case: "7" } });
  for (const n of [0, 1, 2, 3, 4]) {
    await messages.create(thread.id, { role: "user", content: `Number ${n}` });
  }
  const listed = await all(messages.list(thread.id, { limit: 2, order: "asc" }));
  const changed = await threads.update(thread.id, { metadata: { case: "8" } });
  const kept = await threads.retrieve(thread.id);
  return {
    texts: listed.map((message) => message.content[0].text.value),
    changed: changed.metadata,
    kept: kept.metadata,
    deleted: (await remove(threads, thread.id)).deleted,
  };
}

async function runByHand(assistant_id) {
  const thread = await asked("The weather by hand, please");
  let run = await polled(await runs.create(thread.id, { assistant_id }));
  const waiting = run.status;
  run = await runs.submitToolOutputs(...submitting(run, outputsOf(run)));
  run = await polled(run);
  const order = { order: "asc" };
  const steps = named
    ? runs.steps.list(run.id, { thread_id: run.thread_id, ...order })
    : runs.steps.list(run.thread_id, run.id, order);
  return {
    waiting,
    status: run.status,
    answer: await answerOf(run),
    steps: (await all(steps)).map(({ type }) => type),
  };
}

async function runWithHelpers(assistant_id) {
  let thread = await asked("Say hello");
  const plain = await runs.createAndPoll(thread.id, { assistant_id });
  thread = await asked("The weather with helpers, please");
  let run = await runs.createAndPoll(thread.id, { assistant_id });
  const waiting = run.status;
  run = await runs.submitToolOutputsAndPoll(...submitting(run, outputsOf(run)));
  const message = { role: "user", content: "Say hello" };
  const both = await threads.createAndRunPoll({ assistant_id, thread: { messages: [message] } });
  return {
    plain: [plain.status, await answerOf(plain), plain.usage.total_tokens],
    tool: [waiting, run.status, await answerOf(run)],
    create_and_run: [both.status, await answerOf(both)],
  };
}

async function runAsStreams(assistant_id) {
  let thread = await asked("Say hello");
  let stream = runs.stream(thread.id, { assistant_id });
  const names = await eventNames(stream);
  const texts = (await stream.finalMessages()).map((message) => message.content[0].text.value);
  thread = await asked("The weather as a stream, please");
  stream = runs.stream(thread.id, { assistant_id });
  const first = await eventNames(stream);
  let run = await stream.finalRun();
  stream = runs.submitToolOutputsStream(...submitting(run, outputsOf(run)));
  const second = await eventNames(stream);
  run = await stream.finalRun();
  const answer = await answerOf(run);
  const message = { role: "user", content: "Say hello" };
  // Heard from its first event on: nothing may be awaited between making and hearing it.
  const both = threads.createAndRunStream({ assistant_id, thread: { messages: [message] } });
  const together = await eventNames(both);
  return {
    plain: [names, texts],
    tool: [first, second, run.status, answer],
    create_and_run: together,
  };
}

async function cancel(assistant_id) {
  const thread = await asked("The weather, cancelled");
  let run = await polled(await runs.create(thread.id, { assistant_id }));
  const more = { role: "user", content: "More" };
  const refused = [];
  for (const attempt of [
    () => runs.create(thread.id, { assistant_id }),
    () => messages.create(thread.id, more),
  ]) {
    const error = await attempt().catch((caught) => caught);
    if (!(error instanceof OpenAI.BadRequestError)) throw error;
    refused.push(error.error.message.replace(thread.id, "THREAD").replace(run.id, "RUN"));
  }
  run = await polled(await runs.cancel(...at(run)));
  await messages.create(thread.id, more);
  return { status: run.status, refused };
}

async function fail() {
  const stranger = new OpenAI({ apiKey: "atr_nothing", maxRetries: 0 });
  const attempts = {
    unknown: () => threads.retrieve(`thread_${"0".repeat(26)}`),
    prefix: () => threads.retrieve(`asst_${"0".repeat(26)}`),
    model: () => assistants.create({ model: "no-such-model" }),
    key: () => stranger.models.list(),
  };
  const seen = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    const error = await attempt().catch((caught) => caught);
    seen[name] = [error.constructor.name, error.status, error.code, error.param];
  }
  return seen;
}

const assistant = await assistants.create({
  model: "test-model",
  name: "Weather desk",
  instructions: "Be brief.",
  tools: [WEATHER],
});
const models = (await all(client.models.list())).map(({ id }) => id);
const saw = {
  models: models.filter((id) => id === "test-model"),
  assistants: await manageAssistants(),
  threads: await manageThreads(),
  by_hand: await runByHand(assistant.id),
  cancel: await cancel(assistant.id),
  errors: await fail(),
  helpers: await runWithHelpers(assistant.id),
  streams: await runAsStreams(assistant.id),
};
await remove(assistants, assistant.id);
console.log(JSON.stringify({ version, saw }));
