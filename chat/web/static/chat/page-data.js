// What the server put into the page: addresses, people, first contents and every visible string.
export const data = JSON.parse(document.getElementById("page-data").textContent);

/** The translated string `key` with {placeholders} filled in. */
export function t(key, values = {}) {
  const text = data.words[key];
  if (text === undefined) throw new Error(`no string named ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export const locale = document.documentElement.lang || "en";
