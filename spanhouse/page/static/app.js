// Starts here: asks for the dashboards, shows what the URL names, and says when nobody answers.

import { ApiError, get, onReachable } from "./api.js";
import { DashboardView } from "./dashboard.js";
import { announce, h, icon } from "./dom.js";
import { carried, go, here, onRoute, withParams } from "./route.js";
import { SqlView } from "./sql.js";
import { TraceView } from "./trace.js";

const AGAIN_MS = 2000;
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const nav = /** @type {HTMLElement} */ (document.getElementById("nav"));
const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));

/** @type {any} */
let site = null;
/** @type {any} */
let view = null;
let shown = "";
let empty = false;

async function start() {
  theme();
  menu();
  onReachable(reachable);
  onRoute(show);
  try {
    site = await get("/api/dashboards");
  } catch (error) {
    // The banner says it where nobody answers.
    if (error instanceof ApiError) stop(error.message);
    return;
  }
  show();
  welcome();
}

/** Show what the URL names. */
function show() {
  if (!site) return;
  const place = here();
  if (!place) {
    go(`/d/${site.dashboards[0].name}${location.search}`, true);
    return;
  }
  navigation(place);
  const key = `${place.view}/${place.name}`;
  if (view && key === shown) {
    if (!empty) view.update();
    return;
  }
  const first = !view;
  view?.destroy();
  shown = key;
  view = made(place);
  if (!view) {
    stop(`There is no dashboard “${place.name}”.`);
    return;
  }
  document.title = `${view.title} · spanhouse`;
  if (empty && place.view === "dashboard") {
    main.replaceChildren(greeting());
    return;
  }
  main.replaceChildren(view.element);
  view.start();
  announce(view.title);
  if (!first && place.view !== "sql") main.querySelector("h1")?.focus({ preventScroll: true });
}

function made(place) {
  if (place.view === "trace") return new TraceView(place.name, site);
  if (place.view === "sql") return new SqlView(site);
  const dashboard = site.dashboards.find((one) => one.name === place.name);
  return dashboard ? new DashboardView(dashboard, site) : null;
}

function stop(text) {
  view = null;
  main.replaceChildren(h("div.notice", {}, h("h1", { tabindex: "-1" }, "Nothing to show"), h("p", {}, text)));
}

function navigation(place) {
  const params = carried(site.variables);
  const item = (path, title, glyph, current) =>
    h("a", { href: withParams({}, path, params), "aria-current": current ? "page" : null }, icon(glyph), title);
  const glyphs = {
    overview: "table",
    cost: "db",
    latency: "clock",
    traces: "workflow",
    slo: "check",
    prompts: "llm",
    users: "agent",
    pipeline: "mcp",
  };
  nav.replaceChildren(
    ...site.dashboards.map((one) =>
      item(
        `/d/${one.name}`,
        one.title,
        glyphs[one.name] ?? "other",
        (place.view === "dashboard" && place.name === one.name) || (place.view === "trace" && one.name === "traces"),
      ),
    ),
    h("hr"),
    item("/sql", "SQL", "right", place.view === "sql"),
  );
  const version = document.getElementById("version");
  if (version) version.textContent = site.version;
}

/** The first span is still to come: say how to send it, until it has come. */
async function welcome() {
  const { values } = await get("/api/values/service", { from: "now-90d", to: "now" }).catch(() => ({ values: [""] }));
  if (!values.length) setTimeout(welcome, AGAIN_MS);
  if (empty === !values.length) return;
  empty = !values.length;
  if (here()?.view !== "dashboard") return;
  shown = "";
  show();
}

function greeting() {
  if (!site.otlp_url) {
    return h(
      "div.notice",
      {},
      h("h1", { tabindex: "-1" }, "No spans yet"),
      h("p", {}, "They are read from Kafka. This page shows data as soon as it comes."),
    );
  }
  return h(
    "div.notice",
    {},
    h("h1", { tabindex: "-1" }, "No spans yet"),
    h("p", {}, "Send the first one from any application with an OpenTelemetry SDK:"),
    h(
      "pre",
      { tabindex: "0" },
      `export OTEL_EXPORTER_OTLP_ENDPOINT=${site.otlp_url}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_SERVICE_NAME=my-agent`,
    ),
    h("p", {}, "Or see a demo: stop spanhouse and start it with"),
    h("pre", { tabindex: "0" }, "spanhouse up --demo"),
    h("p.muted", {}, "This page shows data as soon as it comes."),
  );
}

/** The banner while nobody answers. It asks until somebody does. */
function reachable(up) {
  banner.hidden = up;
  banner.replaceChildren(
    ...(up
      ? []
      : [
          icon("warn"),
          h("span", {}, "spanhouse is not answering; start it with ", h("code", {}, "spanhouse up"), "."),
        ]),
  );
  if (up) view?.refresh();
  else setTimeout(knock, AGAIN_MS);
}

async function knock() {
  try {
    const answer = await get("/api/dashboards");
    if (!site) {
      site = answer;
      show();
      welcome();
    }
  } catch (error) {
    if (!(error instanceof ApiError)) setTimeout(knock, AGAIN_MS);
  }
}

/** theme.js has chosen one; the button remembers the other one. */
function theme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  button?.append(icon("theme"), h("span", {}, "Theme"));
  button?.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // Storage is switched off: it holds until the page is closed.
    }
    announce(`${root.dataset.theme} theme`);
  });
  // Charts are painted, so they are painted again.
  new MutationObserver(() => view?.redraw()).observe(root, { attributeFilter: ["data-theme"] });
}

/** On a phone the navigation is behind a button. */
function menu() {
  const button = document.getElementById("menu");
  button?.append(icon("menu"));
  const open = (yes) => {
    document.body.classList.toggle("menu-open", yes);
    button?.setAttribute("aria-expanded", String(yes));
  };
  button?.addEventListener("click", () => open(!document.body.classList.contains("menu-open")));
  nav.addEventListener("click", () => open(false));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !document.body.classList.contains("menu-open")) return;
    open(false);
    button?.focus();
  });
}

start();
