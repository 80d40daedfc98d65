// The bundle's HTTP API: the key, problem documents, server-sent events, pictures.

const KEY = "sagaforge-key";
const MANY_DIGITS = new Set(["seed"]);
let whenLocked = () => {};

/** What the server says is wrong (RFC 9457), or that it says nothing. */
export class Problem extends Error {
  constructor({ title, detail, code, status, request_id: requestId }) {
    super(detail ?? title);
    Object.assign(this, { title, detail: detail ?? "The server gave no reason.", code, status, requestId });
  }
}

export const key = () => sessionStorage.getItem(KEY);
export const keepKey = (value) => sessionStorage.setItem(KEY, value);
export const forgetKey = () => sessionStorage.removeItem(KEY);
/** `callback(problem)` is called whenever a request is refused for its key. */
export const onLocked = (callback) => (whenLocked = callback);

// Seeds go up to 2^63 - 1, beyond what a number of JavaScript holds: the digits themselves are kept.
const parse = (text) =>
  JSON.parse(text, (name, value, context) =>
    MANY_DIGITS.has(name) && typeof value === "number" && !Number.isSafeInteger(value) && context?.source
      ? BigInt(context.source)
      : value,
  );
const write = (body) =>
  JSON.stringify(body, (_, value) => (typeof value === "bigint" ? JSON.rawJSON(String(value)) : value));

/** A response that is fine; throws a `Problem`, or an `AbortError` where `signal` stopped it. */
export async function call(path, { headers = {}, signal, ...options } = {}) {
  const given = key();
  if (given) headers = { ...headers, Authorization: `Bearer ${given}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal });
  } catch (error) {
    throw signal?.aborted ? error : unreachable("The server can't be reached.");
  }
  if (response.ok) return response;
  const problem = new Problem({
    title: `HTTP ${response.status}`,
    detail: response.statusText || undefined,
    ...(await response.json().catch(() => ({}))),
    status: response.status,
  });
  if (response.status === 401) whenLocked(problem);
  throw problem;
}

export const get = async (path) => parse(await (await call(path)).text());

/** The events of `POST /t2i/generate`. A repeat under the same key gets what the first attempt made. */
export async function* generate(request, idempotencyKey, signal) {
  const response = await call("/t2i/generate", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
    body: write({ ...request, stream: true }),
    signal,
  });
  let isDone = false;
  // To the end of the stream, even after the last event: to hang up is to cancel.
  for await (const { name, data } of events(response, signal)) {
    if (name === "error") throw new Problem(data);
    yield { name, data };
    isDone ||= name === "done";
  }
  if (!isDone) throw unreachable("The connection broke off before the picture was finished.");
}

async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let name = "message";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.map((text) => text.replace(/\r$/, ""))) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
        else if (line === "") {
          if (data.length) yield { name, data: parse(data.join("\n")) };
          name = "message";
          data = [];
        }
      }
    }
  } catch (error) {
    throw signal.aborted || error instanceof Problem ? error : unreachable("The connection broke off.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

const unreachable = (detail) => new Problem({ title: "No answer", detail, code: "unreachable" });

/** A name that no other request has. (crypto.randomUUID is there on HTTPS and on this machine only.) */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Show a picture. An <img> sends no key, so with one the bytes are fetched. */
export async function show(img, path) {
  if (!key()) {
    img.src = path;
    return;
  }
  let url;
  try {
    url = await objectUrl(path);
  } catch {
    img.dispatchEvent(new Event("error"));
    return;
  }
  // Once shown, an image keeps its pixels; the blob behind it would stay in memory.
  for (const end of ["load", "error"]) img.addEventListener(end, () => URL.revokeObjectURL(url), { once: true });
  img.src = url;
}

export const objectUrl = async (path) => URL.createObjectURL(await (await call(path)).blob());

export function thumbnail(image, size) {
  const url = new URL(image.thumbnail_url, location.origin);
  url.searchParams.set("size", size);
  return url.pathname + url.search;
}
