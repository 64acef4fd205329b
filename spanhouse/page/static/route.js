// What is shown is in the URL, and nowhere else: reload, back and a shared link show the same.

/** @type {() => void} */
let changed = () => {};

/** @param {() => void} listener called after each change of the URL */
export function onRoute(listener) {
  changed = listener;
  window.addEventListener("popstate", listener);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (
      !link ||
      event.defaultPrevented ||
      event.button ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    if (link.target || link.hash || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (!parse(new URL(link.href))) return;
    event.preventDefault();
    if (link.closest("[popover]")) /** @type {any} */ (link.closest("[popover]")).hidePopover();
    go(link.pathname + link.search);
    window.scrollTo(0, 0);
  });
}

/**
 * @param {URL} url
 * @returns {{view: "dashboard" | "trace" | "sql", name: string, params: URLSearchParams} | null}
 */
function parse(url) {
  const [, view, name = ""] = url.pathname.split("/");
  const params = url.searchParams;
  if (view === "d" && name) return { view: "dashboard", name: decodeURIComponent(name), params };
  if (view === "trace" && name) return { view: "trace", name: decodeURIComponent(name), params };
  if (view === "sql") return { view: "sql", name: "", params };
  return null;
}

/** Where we are; null for the start page. */
export const here = () => parse(new URL(location.href));

/**
 * @param {string} url
 * @param {boolean} [replace] whether the step back skips where we are now
 */
export function go(url, replace = false) {
  if (url === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  changed();
}

/** @param {URLSearchParams} params */
const query = (params) => (String(params) ? `?${params}` : "");

/**
 * The URL with some parameters changed.
 * @param {Record<string, string | string[] | null>} changes null removes one
 * @param {string} [path] where to; here if it is left out
 * @param {URLSearchParams} [base] instead of the parameters of here
 */
export function withParams(changes, path = location.pathname, base = new URLSearchParams(location.search)) {
  const params = new URLSearchParams(base);
  for (const [key, value] of Object.entries(changes)) {
    params.delete(key);
    for (const one of Array.isArray(value) ? value : value === null ? [] : [value]) params.append(key, one);
  }
  return path + query(params);
}

/** Time range and filters, which go along from view to view. @param {string[]} filters */
export function carried(filters) {
  const params = new URLSearchParams();
  for (const [key, value] of new URLSearchParams(location.search)) {
    if (key === "from" || key === "to" || filters.some((name) => key === `var-${name}`)) params.append(key, value);
  }
  return params;
}
