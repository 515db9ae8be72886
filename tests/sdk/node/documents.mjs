// The same program as ../documents.py, with the official client for Node:
//   node documents.mjs openai|openai-4
import { readFileSync } from "node:fs";

const { default: OpenAI } = await import(process.argv[2]);
const about = new URL(`node_modules/${process.argv[2]}/package.json`, import.meta.url);
const { version } = JSON.parse(readFileSync(about, "utf8"));

const client = new OpenAI({ maxRetries: 0, timeout: 30_000 });
const { beta, files, uploads, vectorStores } = client;
// Ids within a path are named from version 5 on.
const named = !version.startsWith("4.");
const within = (store, id, more = {}) =>
  named ? [id, { vector_store_id: store.id, ...more }] : [store.id, id, ...some(more)];
const some = (more) => (Object.keys(more).length ? [more] : []);
const remove = (resource, ...ids) => (resource.delete ?? resource.del).call(resource, ...ids);
const CONTENT = "step_details.tool_calls[*].file_search.results[*].content";

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function manageFiles() {
  const file = new File(["words"], "words.txt");
  const made = await files.create({ file, purpose: "user_data" });
  const found = await files.retrieve(made.id);
  const listed = (await all(files.list({ purpose: "user_data" }))).map(({ id }) => id);
  return {
    made: [found.filename, found.bytes, found.purpose, found.status],
    listed: listed.length === 1 && listed[0] === made.id,
    content: await (await files.content(made.id)).text(),
    processed: (await files.waitForProcessing(made.id)).status,
    deleted: (await remove(files, made.id)).deleted,
  };
}

async function sendInParts() {
  const told = { filename: "parts.txt", purpose: "user_data", mime_type: "text/plain" };
  const upload = await uploads.create({ bytes: 7, ...told });
  const part_ids = [];
  for (const text of ["one ", "two"]) {
    const data = new File([text], "part");
    part_ids.push((await uploads.parts.create(upload.id, { data })).id);
  }
  const done = await uploads.complete(upload.id, { part_ids });
  const content = await (await files.content(done.file.id)).text();
  await remove(files, done.file.id);
  const other = await uploads.create({ bytes: 7, ...told });
  const cancelled = (await uploads.cancel(other.id)).status;
  return { status: done.status, content, cancelled };
}

async function fillAStore(store) {
  const guide = new File(["# Wood\n\nThe word is walnut."], "guide.md");
  const row = await vectorStores.files.uploadAndPoll(store.id, guide);
  const given = [
    new File(["Oaks are tall."], "more.txt"),
    new File(["%PDF-1.7 rubbish"], "bad.pdf"),
  ];
  const batch = await vectorStores.fileBatches.uploadAndPoll(store.id, { files: given });
  const failed = await all(
    vectorStores.fileBatches.listFiles(...within(store, batch.id, { filter: "failed" })),
  );
  await vectorStores.files.update(...within(store, row.id, { attributes: { language: "en" } }));
  const { file_counts } = await vectorStores.retrieve(store.id);
  return {
    row: [row.status, row.last_error],
    batch: [batch.status, batch.file_counts.completed, batch.file_counts.failed],
    failed: failed.map(({ last_error }) => last_error.code),
    listed: (await all(vectorStores.files.list(store.id, { limit: 2 }))).length,
    text: (await all(vectorStores.files.content(...within(store, row.id)))).map(({ text }) => text),
    attributes: (await vectorStores.files.retrieve(...within(store, row.id))).attributes,
    counts: ["total", "completed", "failed", "in_progress"].map((name) => file_counts[name]),
  };
}

async function search(store) {
  const english = { type: "eq", key: "language", value: "en" };
  const found = await all(
    vectorStores.search(store.id, { query: "walnut", max_num_results: 1 }),
  );
  const query = ["oaks", "walnut"];
  const filtered = await all(vectorStores.search(store.id, { query, filters: english }));
  return {
    found: found.map((one) => [one.filename, one.content[0].text]),
    filtered: filtered.map((one) => one.filename),
  };
}

async function ask(store) {
  const { threads } = beta;
  const assistant = await beta.assistants.create({
    model: "test-model",
    tools: [{ type: "file_search" }],
    tool_resources: { file_search: { vector_store_ids: [store.id] } },
  });
  const messages = [{ role: "user", content: "Look up the word" }];
  const thread = await threads.create({ messages });
  const run = await threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id });
  const at = { thread_id: thread.id, run_id: run.id };
  const order = { order: "asc" };
  const steps = named
    ? await threads.runs.steps.list(run.id, { thread_id: thread.id, ...order })
    : await threads.runs.steps.list(thread.id, run.id, order);
  const plain = steps.data[0];
  const include = { include: [CONTENT] };
  const step = named
    ? await threads.runs.steps.retrieve(plain.id, { ...at, ...include })
    : await threads.runs.steps.retrieve(thread.id, run.id, plain.id, include);
  const results = [plain, step].map((one) => one.step_details.tool_calls[0].file_search.results[0]);
  const page = await threads.messages.list(thread.id, { limit: 1 });
  const { text } = page.data[0].content[0];
  const [citation] = text.annotations;
  await remove(beta.assistants, assistant.id);
  return {
    status: run.status,
    type: step.step_details.tool_calls[0].type,
    files: results.map(({ file_name }) => file_name),
    content: results.map(({ content }) => content?.[0].text ?? null),
    cited: [citation.type, citation.file_citation.file_id === results[0].file_id],
    marked: text.value.slice(citation.start_index, citation.end_index) === citation.text,
  };
}

const expires_after = { anchor: "last_active_at", days: 7 };
const store = await vectorStores.create({ name: "Wood", expires_after });
const saw = {
  files: await manageFiles(),
  uploads: await sendInParts(),
  store: await fillAStore(store),
  search: await search(store),
  answer: await ask(store),
  gone: (await remove(vectorStores, store.id)).deleted,
};
console.log(JSON.stringify({ version, saw }));
