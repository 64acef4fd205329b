// Asks the server: at most four questions at once, so that the panels in view get their answers first.

const AT_ONCE = 4;
/** @type {(() => void)[]} */
const waiting = [];
let running = 0;

/** The server's answer was a sentence about what is wrong. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {}

/** Told with true and false when the server is found to answer, or not to. @type {(up: boolean) => void} */
let changed = () => {};
let up = true;

/** @param {(up: boolean) => void} listener */
export function onReachable(listener) {
  changed = listener;
}

function reached(now) {
  if (now === up) return;
  up = now;
  changed(now);
}

/** Wait for one's turn; an aborted one leaves the queue. @param {AbortSignal | undefined} signal */
async function turn(signal) {
  if (running < AT_ONCE) {
    running += 1;
    return;
  }
  await new Promise((resolve, reject) => {
    const enter = () => resolve(undefined);
    waiting.push(enter);
    signal?.addEventListener("abort", () => {
      const place = waiting.indexOf(enter);
      if (place >= 0) waiting.splice(place, 1);
      if (place >= 0) reject(signal.reason);
    });
  });
}

function next() {
  const enter = waiting.shift();
  if (enter) enter();
  else running -= 1;
}

/**
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError | Unreachable | DOMException} the last one when aborted
 */
export async function ask(url, options = {}) {
  const signal = options.signal ?? undefined;
  signal?.throwIfAborted();
  await turn(signal);
  try {
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (signal?.aborted) throw error;
      reached(false);
      throw new Unreachable("spanhouse is not answering.");
    }
    reached(true);
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    throw new ApiError(body.error || `The server answered with status ${response.status}.`, response.status);
  } finally {
    next();
  }
}

/**
 * @param {string} path
 * @param {URLSearchParams | Record<string, string>} [params]
 * @param {AbortSignal} [signal]
 */
export async function get(path, params = {}, signal) {
  const query = String(new URLSearchParams(params));
  const response = await ask(query ? `${path}?${query}` : path, { signal });
  return response.json();
}

/** @param {string} path @param {object} body @param {AbortSignal} [signal] */
export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Whether an error only means that nobody waits for the answer any more. */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
