// The same program as ../silence.py, with the official client for Node:
//   node silence.mjs openai|openai-4 assistant
import { readFileSync } from "node:fs";

const [, , name, assistant_id] = process.argv;
const { default: OpenAI } = await import(name);
const about = new URL(`node_modules/${name}/package.json`, import.meta.url);
const { version } = JSON.parse(readFileSync(about, "utf8"));
const client = new OpenAI({ maxRetries: 0, timeout: 120_000 });
const { threads } = client.beta;
const messages = [{ role: "user", content: "Be silent first" }];
const newThread = async () => (await threads.create({ messages })).id;

async function byCreate() {
  let text = "";
  for await (const { event, data } of await threads.runs.create(await newThread(), { assistant_id, stream: true })) {
    if (event === "thread.message.delta") for (const part of data.delta.content) text += part.text.value;
  }
  return text;
}

async function byHelper() {
  let text = "";
  const stream = threads.runs.stream(await newThread(), { assistant_id });
  stream.on("textDelta", ({ value }) => (text += value ?? ""));
  await stream.finalRun();
  return text;
}

console.log(JSON.stringify({ version, saw: { create: await byCreate(), helper: await byHelper() } }));
