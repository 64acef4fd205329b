// Elements are made here and nowhere else. Data comes from strangers: strings become text nodes, never HTML.

/**
 * An element.
 * @param {string} tag name, with classes: "a.link.muted"
 * @param {Record<string, any>} [props] `on…` are listeners, `data` is the dataset, null and false are left out
 * @param {...any} children nodes, text, arrays of them; null and false are left out
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, String(v));
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/**
 * The same for SVG.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...Node} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** @param {any[]} children @returns {(Node | string)[]} */
function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

// Strokes in a square of 16.
const ICONS = {
  menu: "M2 4h12M2 8h12M2 12h12",
  dots: "M8 3v.01M8 8v.01M8 13v.01",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 5v3l2 2",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3l8 5-8 5z",
  reload: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  download: "M8 2v8M5 7l3 3 3-3M3 13h10",
  out: "M6 3H3v10h10v-3M9 3h4v4M13 3L7 9",
  table: "M2 3h12v10H2zM2 6.5h12M6 6.5V13",
  check: "M3 8.5l3.5 3.5L13 5",
  close: "M4 4l8 8M12 4l-8 8",
  warn: "M8 2L1.5 13.5h13zM8 6.5v3M8 11.7v.01",
  // kinds of spans
  llm: "M8 2l1.6 4.4L14 8l-4.4 1.6L8 14l-1.6-4.4L2 8l4.4-1.6z",
  agent: "M3 6h10v7H3zM8 6V3M8 2.5v.01M6 9v1M10 9v1",
  tool: "M10.5 2.5a3.2 3.2 0 0 0-3 4.6L2.5 12l1.5 1.5 4.9-5a3.2 3.2 0 0 0 4.5-3.7L11.3 6.7 9.4 6.5 9.3 4.700z",
  retrieval: "M7 2.500a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.500L14 14",
  embedding: "M3 3v.01M8 3v.01M13 3v.01M3 8v.01M8 8v.01M13 8v.01M3 13v.01M8 13v.01M13 13v.01",
  rerank: "M5 3v10M2.5 10.500L5 13l2.5-2.500M11 13V3M8.5 5.500L11 3l2.5 2.5",
  workflow: "M2 6h4v4H2zM10 2h4v4h-4zM10 10h4v4h-4zM6 8h2V4h2M8 8v4h2",
  guardrail: "M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4z",
  evaluation: "M2 2h12v12H2zM5 8l2.2 2.200L11 6",
  mcp: "M6 2v3M10 2v3M4 5h8v3a4 4 0 0 1-8 0zM8 12v2.5",
  http: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM2 8h12M8 2c-4 4-4 8 0 12M8 2c4 4 4 8 0 12",
  db: "M3 4c0-2.5 10-2.5 10 0s-10 2.5-10 0zM3 4v8c0 2.5 10 2.5 10 0V4M3 8c0 2.5 10 2.5 10 0",
  other: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
};

/** @param {string} name one of ICONS; unknown names give the one of "other" */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: Object.hasOwn(ICONS, name) ? ICONS[name] : ICONS.other }),
  );
}

/**
 * A button that opens a popover: closed by Escape and by a click elsewhere, as the browser does it.
 * @param {any} button
 * @param {any} content
 * @param {() => void} [opened] called when it is open
 */
export function popover(button, content, opened = () => {}) {
  content.popover = "auto";
  content.classList.add("popover");
  button.setAttribute("aria-expanded", "false");
  content.addEventListener("toggle", (/** @type {any} */ event) => {
    button.setAttribute("aria-expanded", String(event.newState === "open"));
  });
  // A press on the button of an open one closes it, and its click must not open it again.
  let wasOpen = false;
  button.addEventListener("pointerdown", () => {
    wasOpen = content.matches(":popover-open");
  });
  button.addEventListener("click", (/** @type {any} */ event) => {
    if (content.matches(":popover-open")) content.hidePopover();
    if (wasOpen && event.detail) return;
    content.showPopover();
    place(button, content);
    opened();
  });
  return content;
}

/** Below the button, inside the window. */
function place(button, content) {
  const anchor = button.getBoundingClientRect();
  const width = content.offsetWidth;
  const wanted = content.classList.contains("menu") ? anchor.right - width : anchor.left;
  const left = Math.max(8, Math.min(wanted, document.documentElement.clientWidth - width - 8));
  const below = window.innerHeight - anchor.bottom - 12;
  const top =
    below < Math.min(content.offsetHeight, 240)
      ? Math.max(8, anchor.top - content.offsetHeight - 4)
      : anchor.bottom + 4;
  content.style.left = `${left}px`;
  content.style.top = `${top}px`;
  content.style.maxHeight = `${window.innerHeight - top - 8}px`;
}

/** Say it to screen readers. @param {string} text */
export function announce(text) {
  const region = document.getElementById("status");
  if (region && region.textContent !== text) region.textContent = text;
}
