// Data embedded in the page: URLs, user and company, initial content and all visible strings.
export const data = JSON.parse(document.getElementById("page-data").textContent);

/** Return the translated string `key` with {placeholders} filled in. */
export function t(key, values = {}) {
  const text = data.words[key];
  if (text === undefined) throw new Error(`no string named ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export const locale = document.documentElement.lang || "en";
