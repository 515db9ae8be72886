// Shows a notice if an answer stays queued because no worker is available (from /readyz).
import { setNotice } from "./banner.js";
import { data, t } from "./page-data.js";

const POLL_MS = 5000;
let timer = null;

/** Update on each change of the open chat; `run` is its active run, or null. */
export function updateWorkerNotice(run) {
  if (run?.status === "queued") {
    if (timer === null) timer = setTimeout(checkWorker, POLL_MS);
    return;
  }
  clearTimeout(timer);
  timer = null;
  setNotice(null);
}

async function checkWorker() {
  timer = setTimeout(checkWorker, POLL_MS);
  try {
    const { checks } = await (await fetch(data.urls.ready)).json();
    if (timer !== null) setNotice(checks.database && !checks.worker ? t("no_worker") : null);
  } catch {
    // The connection is down: the banner shows that already.
  }
}
