// The waterfall of a trace. Only the rows in view are in the document, so thousands of spans cost nothing.

import { get, isAbort } from "./api.js";
import { colours } from "./chart.js";
import { announce, h, icon } from "./dom.js";
import { duration, number, time } from "./format.js";
import { carried, withParams } from "./route.js";

const ROW = 28;
let count = 0;

/** Rows on a time axis, in an ARIA tree, and the details of the one selected. */
class Waterfall {
  /** @param {any} trace of GET /api/traces/<id> */
  constructor(trace) {
    this.spans = trace.spans;
    this.total = Math.max(trace.duration_ms, 1e-6);
    this.start = Number(BigInt(trace.start) / 1_000_000n);
    this.id = `tree-${(count += 1)}`;
    this.collapsed = new Set();
    this.selected = 0;
    const slots = colours([...new Set(this.spans.map((span) => span.service))]);
    this.colour = (span) => `var(--s${slots.get(span.service)})`;
    this.children = this.spans.map((span, i) => (this.spans[i + 1]?.depth ?? 0) > span.depth);

    this.rows = h("div.rows", { role: "presentation" });
    this.tree = h(
      "div.tree",
      {
        role: "tree",
        tabindex: "0",
        "aria-label": "Spans of the trace",
        onkeydown: (event) => this.key(event),
        onscroll: () => this.paint(),
      },
      this.rows,
    );
    this.details = h("aside.details", { "aria-label": "Details of the span", tabindex: "0" });
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) =>
      h("span", { style: { left: `${at * 100}%` } }, duration(at * this.total)),
    );
    this.element = h(
      "div.waterfall",
      {},
      h(
        "div.legend",
        {},
        [...slots.keys()].map((name) =>
          h(
            "span.service",
            {},
            h("span.dot", { style: { background: `var(--s${slots.get(name)})` } }),
            name || "(none)",
          ),
        ),
      ),
      h(
        "div.split",
        {},
        h(
          "div.timeline",
          {},
          h("div.axis", { "aria-hidden": "true" }, h("span.left", {}, "Span"), h("div.scale", {}, ticks)),
          this.tree,
        ),
        this.details,
      ),
    );
    this.resized = new ResizeObserver(() => this.paint());
    this.resized.observe(this.tree);
    this.arrange();
    this.select(0, false);
  }

  /** Which spans are shown: those under a collapsed one are not. */
  arrange() {
    this.shown = [];
    let hiddenBelow = Infinity;
    this.spans.forEach((span, i) => {
      if (span.depth > hiddenBelow) return;
      hiddenBelow = this.collapsed.has(i) ? span.depth : Infinity;
      this.shown.push(i);
    });
    this.rows.style.height = `${this.shown.length * ROW}px`;
    this.paint();
  }

  paint() {
    const first = Math.max(0, Math.floor(this.tree.scrollTop / ROW) - 10);
    const last = Math.min(
      this.shown.length,
      Math.ceil((this.tree.scrollTop + (this.tree.clientHeight || 600)) / ROW) + 10,
    );
    const places = [];
    for (let place = first; place < last; place += 1) places.push(place);
    const selected = this.shown.indexOf(this.selected);
    // The selected one stays in the document: screen readers follow it.
    if (selected >= 0 && !places.includes(selected)) places.push(selected);
    this.rows.replaceChildren(...places.map((place) => this.row(place)));
    this.tree.setAttribute("aria-activedescendant", `${this.id}-${this.selected}`);
  }

  row(place) {
    const i = this.shown[place];
    const span = this.spans[i];
    const left = (span.start_ms / this.total) * 100;
    const width = Math.max(0, (span.duration_ms / this.total) * 100);
    const failed = span.status === "error";
    const closed = this.collapsed.has(i);
    const first = span.ttft_ms ? Math.min(100, (span.ttft_ms / Math.max(span.duration_ms, 1e-9)) * 100) : null;
    return h(
      `div.span${failed ? ".failed" : ""}${i === this.selected ? ".selected" : ""}`,
      {
        role: "treeitem",
        id: `${this.id}-${i}`,
        "aria-level": span.depth + 1,
        "aria-selected": String(i === this.selected),
        "aria-expanded": this.children[i] ? String(!closed) : null,
        "aria-setsize": this.shown.length,
        "aria-posinset": place + 1,
        style: { top: `${place * ROW}px` },
        onclick: () => this.select(i),
      },
      h(
        "div.left",
        { style: { "--depth": Math.min(span.depth, 24), "--colour": this.colour(span) } },
        h(
          "span.twist",
          {
            onclick: (event) => {
              event.stopPropagation();
              this.toggle(i);
            },
          },
          this.children[i] ? icon(closed ? "right" : "down") : "",
        ),
        h("span.kind", { title: span.kind }, icon(span.kind)),
        h("span.name", { title: span.name }, span.name),
        failed && h("span.flag", { title: "error" }, icon("warn")),
        h("span.hidden", {}, ` ${span.kind} of ${span.service}${failed ? ", error" : ""}, `),
      ),
      h(
        "div.scale",
        {},
        h(
          "span.bar",
          {
            style: {
              left: `${Math.min(left, 99.8)}%`,
              width: `${Math.min(width, 100 - Math.min(left, 99.8))}%`,
              "--colour": this.colour(span),
            },
          },
          first !== null &&
            h("span.first", { title: `first token after ${duration(span.ttft_ms)}`, style: { left: `${first}%` } }),
        ),
        h("span.took", { style: { left: `${Math.min(left + width, 100)}%` } }, duration(span.duration_ms)),
      ),
    );
  }

  toggle(i) {
    if (!this.children[i]) return;
    if (!this.collapsed.delete(i)) this.collapsed.add(i);
    this.arrange();
  }

  select(i, say = true) {
    this.selected = i;
    const place = this.shown.indexOf(i);
    const { scrollTop, clientHeight } = this.tree;
    if (clientHeight && place * ROW < scrollTop) this.tree.scrollTop = place * ROW;
    else if (clientHeight && (place + 1) * ROW > scrollTop + clientHeight)
      this.tree.scrollTop = (place + 1) * ROW - clientHeight;
    this.paint();
    if (this.spans[i]) this.details.replaceChildren(...details(this.spans[i], this.start));
    this.details.scrollTop = 0;
    if (say) this.tree.focus({ preventScroll: true });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = this.shown.indexOf(this.selected);
    const page = Math.max(1, Math.floor(this.tree.clientHeight / ROW) - 1);
    const move = {
      ArrowDown: place + 1,
      ArrowUp: place - 1,
      Home: 0,
      End: this.shown.length - 1,
      PageDown: place + page,
      PageUp: place - page,
    }[event.key];
    const open = this.children[this.selected] && !this.collapsed.has(this.selected);
    if (move !== undefined) this.select(this.shown[Math.max(0, Math.min(this.shown.length - 1, move))]);
    else if (event.key === "ArrowRight" && open) this.select(this.shown[place + 1]);
    else if (event.key === "ArrowRight" || (event.key === "ArrowLeft" && open)) this.toggle(this.selected);
    else if (event.key === "ArrowLeft") {
      const depth = this.spans[this.selected].depth;
      const parent = this.spans.findLastIndex((span, i) => i < this.selected && span.depth < depth);
      if (parent >= 0) this.select(parent);
    } else if (event.key === "Enter" || event.key === " ") this.toggle(this.selected);
    else return;
    event.preventDefault();
  }

  destroy() {
    this.resized.disconnect();
  }
}

/** Everything that a span says. */
function details(span, start) {
  const facts = [
    ["Kind", span.kind],
    ["Service", span.service],
    ["Agent", span.agent],
    ["Model", span.model],
    ["Tool", span.tool_name],
    ["Start", `${time(start + span.start_ms)} (+${duration(span.start_ms)})`],
    ["Duration", duration(span.duration_ms)],
    ["First token", span.ttft_ms === null ? "" : duration(span.ttft_ms)],
    ["Status", span.status],
    [
      "Cost",
      Number(span.cost_usd)
        ? `${number(Number(span.cost_usd), "usd")} (${span.cost_source})`
        : span.cost_source === "unpriced"
          ? "unpriced: the model has no known price"
          : "",
    ],
    [
      "Input tokens",
      tokens(span, "prompt", [
        ["cache_read", "from cache"],
        ["cache_write", "to cache"],
      ]),
    ],
    ["Output tokens", tokens(span, "completion", [["reasoning", "reasoning"]])],
    ["Span id", span.span_id],
    ["Parent id", span.parent_span_id],
  ];
  return [
    h("h2", {}, h("span.kind", {}, icon(span.kind)), span.name),
    (span.error_type || span.error_message) &&
      h(
        "div.error",
        {},
        h("strong", {}, span.error_type || "error"),
        span.error_message && h("pre", {}, span.error_message),
      ),
    pairs(
      "Span",
      facts.filter(([, value]) => value),
    ),
    span.events.length > 0 && h("h3", {}, "Events"),
    ...span.events.map((event) =>
      h(
        "details",
        { open: event.name === "exception" },
        h("summary", {}, `${event.name} `, h("span.muted", {}, `+${duration(event.ms)}`)),
        pairs(`Event ${event.name}`, Object.entries(event.attrs)),
      ),
    ),
    Object.keys(span.attrs).length > 0 && h("h3", {}, "Attributes"),
    pairs("Attributes", Object.entries(span.attrs)),
    Object.keys(span.resource).length > 0 && h("h3", {}, "Resource"),
    pairs("Resource", Object.entries(span.resource)),
  ].filter(Boolean);
}

function tokens(span, which, parts) {
  const all = span[`tokens_${which}`];
  if (!all) return "";
  const of = parts
    .filter(([part]) => span[`tokens_${part}`])
    .map(([part, name]) => `${number(span[`tokens_${part}`], "")} ${name}`);
  return `${number(all, "")}${of.length ? ` (${of.join(", ")})` : ""}`;
}

function pairs(label, entries) {
  if (!entries.length) return "";
  const row = ([key, value]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, key),
      h("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
    );
  return h("table.pairs", {}, h("caption.hidden", {}, label), h("tbody", {}, [...entries].map(row)));
}

/** /trace/<id> */
export class TraceView {
  /** @param {string} id @param {any} site */
  constructor(id, site) {
    this.id = id;
    this.site = site;
    this.title = `Trace ${id.slice(0, 8)}`;
    this.content = h("div.tracebox", { "aria-busy": "true" }, h("div.skeleton"));
    this.heading = h("h1", { tabindex: "-1" }, this.title);
    this.sums = h("p.sums");
    const url = `/api/traces/${encodeURIComponent(id)}.json`;
    const back = withParams({}, "/d/traces", carried(site.variables));
    const grafana =
      site.grafana_url &&
      h(
        "a.field",
        {
          href: `${site.grafana_url.replace(/\/$/, "")}/d/spanhouse-traces?${grafanaParams(id)}`,
          target: "_blank",
          rel: "noreferrer",
        },
        icon("out"),
        "Grafana",
      );
    this.element = h(
      "div.trace",
      {},
      h(
        "div.top",
        {},
        h(
          "div.heading",
          {},
          h("p.crumbs", {}, h("a", { href: back }, "Traces"), " / ", h("code", {}, id)),
          this.heading,
          this.sums,
        ),
        h("div.actions", {}, grafana, h("a.field", { href: url, download: "" }, icon("download"), "OTLP JSON")),
      ),
      this.content,
    );
  }

  start() {
    this.load();
  }

  async load() {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    try {
      const trace = await get(`/api/traces/${encodeURIComponent(this.id)}`, {}, abort.signal);
      this.draw(trace);
    } catch (error) {
      if (isAbort(error)) return;
      const text = error instanceof Error ? error.message : String(error);
      this.content.replaceChildren(
        h(
          "p.note",
          { role: "alert" },
          h("span", {}, text),
          h("button.plain", { type: "button", onclick: () => this.load() }, icon("reload"), "Try again"),
        ),
      );
      this.failed = true;
    }
    this.content.removeAttribute("aria-busy");
  }

  draw(trace) {
    const { spans } = trace;
    const root = spans[0];
    const sum = (key) => spans.reduce((all, span) => all + Number(span[key] ?? 0), 0);
    const errors = spans.filter((span) => span.status === "error").length;
    this.failed = false;
    this.title = root.name;
    document.title = `${root.name} · spanhouse`;
    this.heading.textContent = root.name;
    const facts = [
      time(Number(BigInt(trace.start) / 1_000_000n)),
      duration(trace.duration_ms),
      `${spans.length} span${spans.length === 1 ? "" : "s"}`,
      `${number(sum("tokens_prompt") + sum("tokens_completion"), "tokens")} tokens`,
      number(sum("cost_usd"), "usd"),
    ];
    this.sums.replaceChildren(
      ...facts.map((fact) => h("span", {}, fact)),
      ...(errors ? [h("span.bad", {}, `${errors} error${errors === 1 ? "" : "s"}`)] : []),
    );
    this.waterfall?.destroy();
    this.waterfall = new Waterfall(trace);
    this.content.replaceChildren(
      ...(trace.truncated
        ? [h("p.note", { role: "status" }, `Only the first ${spans.length} spans are shown; the download has all.`)]
        : []),
      this.waterfall.element,
    );
    announce(`Trace ${root.name}, ${facts.join(", ")}`);
  }

  update() {}

  refresh() {
    if (this.failed) this.load();
  }

  redraw() {}

  destroy() {
    this.abort?.abort();
    this.waterfall?.destroy();
  }
}

const grafanaParams = (id) => {
  const params = new URLSearchParams(location.search);
  params.set("var-trace_id", id);
  return params;
};

/** A panel of a dashboard with the waterfall of the trace that the variable `trace_id` names. */
export class TracePanel {
  /** @param {any} panel @param {import("./panel.js").Context} context */
  constructor(panel, context) {
    this.context = context;
    this.body = h("div.body");
    const id = `trace-panel-${(count += 1)}`;
    this.element = h(
      "section.panel.trace",
      { "aria-labelledby": id, data: { panel: panel.id }, style: { "--w": panel.width, "--h": panel.height } },
      h("header", {}, h("h3", { id, title: panel.description || null }, panel.title)),
      this.body,
    );
  }

  show(visible) {
    this.visible = visible;
    if (visible) this.invalidate();
  }

  async invalidate() {
    const id = this.context.params().get("var-trace_id") ?? "";
    if (!this.visible || id === this.trace) return;
    this.trace = id;
    this.drop();
    if (!id) {
      this.body.replaceChildren(h("p.empty", {}, "Choose a trace above to see its waterfall."));
      return;
    }
    this.abort = new AbortController();
    try {
      this.waterfall = new Waterfall(await get(`/api/traces/${encodeURIComponent(id)}`, {}, this.abort.signal));
      this.body.replaceChildren(this.waterfall.element);
    } catch (error) {
      if (isAbort(error)) return;
      this.trace = undefined;
      this.body.replaceChildren(h("p.note", { role: "alert" }, error instanceof Error ? error.message : String(error)));
    }
  }

  redraw() {}

  drop() {
    this.abort?.abort();
    this.waterfall?.destroy();
    this.waterfall = undefined;
  }

  destroy() {
    this.drop();
  }
}
