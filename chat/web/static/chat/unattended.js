// Shows a notice if an answer stays queued because no worker is available (from /readyz).
import { notice } from "./banner.js";
import { data, t } from "./page-data.js";

const PATIENCE = 5000;
let timer = null;

/** Update on each change of the open chat; `run` is its active run, or null. */
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
    // The connection is down: the banner shows that already.
  }
}
