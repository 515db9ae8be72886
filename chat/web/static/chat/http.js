// Requests to the server as JSON, and file uploads.
import { data } from "./page-data.js";

export class HttpError extends Error {
  /** `retryAfter`: seconds to wait before a retry, null if the server named none. */
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

function dispatchAccessLoss(status, code) {
  if (status === 401) document.dispatchEvent(new CustomEvent("atrium:signed-out"));
  if (code === "company_changed") document.dispatchEvent(new CustomEvent("atrium:company-changed"));
}

// Signing in or switching company in another tab renews the CSRF token, so it is read each time;
// X-Atrium-Membership names the membership that this page belongs to.
function getCsrfToken() {
  return /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? data.csrf;
}

function buildHeaders(method) {
  const headers = { Accept: "application/json", "X-Atrium-Membership": data.membership };
  if (method !== "GET") headers["X-CSRFToken"] = getCsrfToken();
  return headers;
}

function createHttpError(status, answer, retryAfter) {
  const error = answer?.error ?? {};
  dispatchAccessLoss(status, error.code);
  const seconds = Number.parseInt(retryAfter, 10);
  const wait = Number.isNaN(seconds) ? null : seconds;
  return new HttpError(status, error.code ?? "server_error", error.message ?? "", wait);
}

/** Send JSON and return the parsed response; throws HttpError (status 0 if unreachable). */
export async function request(method, url, body) {
  const headers = buildHeaders(method);
  if (method !== "GET") headers["Content-Type"] = "application/json";
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
  if (!response.ok) throw createHttpError(response.status, answer, response.headers.get("Retry-After"));
  return answer;
}

/**
 * Upload a file; `onProgress` receives the sent fraction, 0 to 1. Returns {done, stop}: a promise
 * of the parsed response, and a function that aborts the upload.
 */
export function upload(url, file, onProgress) {
  const xhr = new XMLHttpRequest();
  const form = new FormData();
  form.append("file", file, file.name);
  const done = new Promise((resolve, reject) => {
    const fail = () => reject(new HttpError(0, "unreachable", ""));
    xhr.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    xhr.addEventListener("error", fail);
    xhr.addEventListener("abort", fail);
    xhr.addEventListener("load", () => {
      const { status, response } = xhr;
      if (status >= 200 && status < 300 && response) resolve(response);
      else reject(createHttpError(status, response, xhr.getResponseHeader("Retry-After")));
    });
  });
  xhr.open("POST", url);
  xhr.responseType = "json";
  for (const [name, value] of Object.entries(buildHeaders("POST"))) xhr.setRequestHeader(name, value);
  xhr.send(form);
  return { done, stop: () => xhr.abort() };
}

export const get = (url) => request("GET", url);
export const post = (url, body) => request("POST", url, body);
export const remove = (url) => request("DELETE", url);
