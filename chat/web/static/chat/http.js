import { data } from "./page-data.js";

export class HttpError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function announceLoss(status, code) {
  if (status === 401) document.dispatchEvent(new CustomEvent("atrium:signed-out"));
  if (code === "company_changed") document.dispatchEvent(new CustomEvent("atrium:company-changed"));
}

// Signing in or changing company in another tab renews the token; X-Atrium-Membership says whose page this is.
function token() {
  return /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? data.csrf;
}

/** Send JSON and return the parsed answer; throws HttpError (status 0 when unreachable). */
export async function request(method, url, body) {
  const headers = { Accept: "application/json", "X-Atrium-Membership": data.membership };
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    headers["X-CSRFToken"] = token();
  }
  let response;
  try {
    response = await fetch(url, {
      method,
      headers,
      credentials: "same-origin",
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
    });
  } catch {
    throw new HttpError(0, "unreachable", "");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    const error = answer?.error ?? {};
    announceLoss(response.status, error.code);
    throw new HttpError(response.status, error.code ?? "server_error", error.message ?? "");
  }
  return answer;
}

export const get = (url) => request("GET", url);
export const post = (url, body) => request("POST", url, body);
