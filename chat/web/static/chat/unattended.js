// Says why an answer does not begin: the server is asked whether anything runs that could begin it.
import { notice } from "./banner.js";
import { data, t } from "./page-data.js";

const PATIENCE = 5000;
let timer = null;

/** Called whenever the state of the open chat changes; `run` is its active one, or null. */
export function lookAfter(run) {
  if (run?.status === "queued") {
    if (timer === null) timer = setTimeout(ask, PATIENCE);
    return;
  }
  clearTimeout(timer);
  timer = null;
  notice(null);
}

async function ask() {
  timer = setTimeout(ask, PATIENCE);
  try {
    const { checks } = await (await fetch(data.urls.ready)).json();
    if (timer !== null) notice(checks.database && !checks.worker ? t("no_worker") : null);
  } catch {
    // The line is down, which the banner says by itself.
  }
}
