// A dashboard: its variables, its panels, and the clock that keeps them live.

import { get } from "./api.js";
import { OTHER } from "./chart.js";
import { combobox } from "./combobox.js";
import { announce, h, icon } from "./dom.js";
import { clock, moment } from "./format.js";
import { Panel } from "./panel.js";
import { carried, go, withParams } from "./route.js";
import { timeRange } from "./timerange.js";
import { TracePanel } from "./trace.js";

const EVERY_MS = 5000;

export class DashboardView {
  /**
   * @param {any} dashboard of GET /api/dashboards
   * @param {any} site the rest of that answer
   */
  constructor(dashboard, site) {
    this.dashboard = dashboard;
    this.site = site;
    this.title = dashboard.title;
    this.filters = dashboard.filters ? site.variables : [];
    /** @type {any[]} */
    this.panels = [];
    this.paused = false;
    this.controls = [
      ...this.filters.map((name) => this.filter(name)),
      ...dashboard.variables.map((variable) => this.variable(variable)),
    ];
    this.time = timeRange(
      () => this.asked(),
      (from, to) => go(withParams({ from, to })),
    );
    this.live = h("button.field.live", { type: "button", onclick: () => this.pause(!this.paused) });
    this.element = h(
      "div.dashboard",
      {},
      h(
        "div.top",
        {},
        h("div.heading", {}, h("h1", { tabindex: "-1" }, dashboard.title), h("p.muted", {}, dashboard.description)),
        h("div.actions", {}, this.grafanaLink(), this.time.element, this.live),
      ),
      h(
        "div.filters",
        { role: "group", "aria-label": "Filters" },
        this.controls.map((control) => control.element),
      ),
      dashboard.rows.map((row) => this.row(row)),
    );
    this.seen = new IntersectionObserver(
      (entries) => {
        for (const entry of entries)
          this.panels.find((panel) => panel.element === entry.target)?.show(entry.isIntersecting);
      },
      { rootMargin: "100px" },
    );
    this.wake = () => {
      if (document.visibilityState === "visible") this.refresh();
    };
    document.addEventListener("visibilitychange", this.wake);
  }

  /** Called once it is in the document. */
  start() {
    for (const panel of this.panels) this.seen.observe(panel.element);
    this.update();
  }

  row(row) {
    const panels = row.panels.filter((panel) => panel.available).map((panel) => this.panel(panel));
    this.panels.push(...panels);
    return (
      panels.length > 0 &&
      h(
        "section.row",
        {},
        row.title && h("h2", {}, row.title),
        h(
          "div.grid",
          {},
          panels.map((panel) => panel.element),
        ),
      )
    );
  }

  panel(panel) {
    const context = {
      dashboard: this.dashboard.name,
      params: () => this.params(),
      range: () => this.range(),
      link: (kind, value) => this.link(kind, value),
      zoom: (from, to) => go(withParams({ from: String(from), to: String(to) })),
      actions: (at, step, dimension, value) => this.actions(at, step, dimension, value),
      grafana: () => this.grafana(),
    };
    return panel.kind === "trace" ? new TracePanel(panel, context) : new Panel(panel, context);
  }

  asked() {
    const params = new URLSearchParams(location.search);
    return { from: params.get("from") || this.dashboard.range, to: params.get("to") || "now" };
  }

  /** @returns {[number, number]} */
  range() {
    const { from, to } = this.asked();
    return [moment(from), moment(to, true)];
  }

  /** Everything that the URL says, and the defaults of what it does not say. */
  params() {
    const params = new URLSearchParams(location.search);
    const { from, to } = this.asked();
    params.set("from", from);
    params.set("to", to);
    for (const variable of this.dashboard.variables) {
      if (!params.has(`var-${variable.name}`) && variable.default) params.set(`var-${variable.name}`, variable.default);
    }
    return params;
  }

  filter(name) {
    return combobox({
      label: name[0].toUpperCase() + name.slice(1),
      multi: true,
      chosen: () => new URLSearchParams(location.search).getAll(`var-${name}`),
      values: async () => (await get(`/api/values/${name}`, this.params())).values,
      change: (values, first) => go(withParams({ [`var-${name}`]: values }), !first),
    });
  }

  variable(variable) {
    const key = `var-${variable.name}`;
    const current = () => new URLSearchParams(location.search).get(key) ?? variable.default;
    if (variable.kind === "text") {
      const input = h("input", {
        type: "text",
        value: current(),
        placeholder: "any",
        autocomplete: "off",
        spellcheck: "false",
      });
      input.addEventListener("change", () => go(withParams({ [key]: input.value.trim() || null })));
      return {
        element: h("label.field.text", {}, h("span.label", {}, variable.label), input),
        update: () => {
          input.value = current();
        },
      };
    }
    return combobox({
      label: variable.label,
      multi: false,
      chosen: () => (current() ? [current()] : []),
      values: async () =>
        variable.query
          ? (await get(`/api/values/${this.dashboard.name}/${variable.name}`, this.params())).values
          : variable.values,
      change: ([value]) => go(withParams({ [key]: value === variable.default ? null : value })),
    });
  }

  /** The URL to which a value of a table or a chart leads. */
  link(kind, value) {
    if (kind === "trace") return withParams({}, `/trace/${encodeURIComponent(value)}`, carried(this.site.variables));
    if (kind === "session") return withParams({ "var-session_id": value }, "/d/traces", carried(this.site.variables));
    return this.filters.includes(kind) ? withParams({ [`var-${kind}`]: value }) : null;
  }

  /** What can be done with a point of a chart. */
  actions(at, step, dimension, value) {
    const made = [];
    const named = dimension && value !== null && value !== OTHER;
    const link = named ? this.link(dimension, value) : null;
    if (link) made.push(h("a.item", { href: link }, `Only ${dimension} ${value}`));
    if (this.site.dashboards.some((one) => one.name === "traces")) {
      const narrowed = { from: String(at), to: String(at + step), ...(named ? { [`var-${dimension}`]: value } : {}) };
      made.push(
        h(
          "a.item",
          { href: withParams(narrowed, "/d/traces", carried(this.site.variables)) },
          `Traces at ${clock(at)}`,
        ),
      );
    }
    return made;
  }

  grafana() {
    if (!this.site.grafana_url) return "";
    return `${this.site.grafana_url.replace(/\/$/, "")}/d/spanhouse-${this.dashboard.name}?${this.params()}`;
  }

  grafanaLink() {
    if (!this.site.grafana_url) return null;
    const link = h("a.field", { href: this.grafana(), target: "_blank", rel: "noreferrer" }, icon("out"), "Grafana");
    link.addEventListener("pointerdown", () => {
      link.href = this.grafana();
    });
    link.addEventListener("focus", () => {
      link.href = this.grafana();
    });
    return link;
  }

  /** The URL has changed. */
  update() {
    for (const control of this.controls) control.update();
    this.time.update();
    this.drawLive();
    this.refresh();
  }

  get isLive() {
    return this.asked().to === "now" && !this.paused;
  }

  pause(paused) {
    this.paused = paused;
    this.drawLive();
    announce(paused ? "Paused" : "Live");
    if (!paused) this.refresh();
  }

  drawLive() {
    const can = this.asked().to === "now";
    this.live.hidden = !can;
    this.live.classList.toggle("on", this.isLive);
    this.live.setAttribute("aria-label", this.paused ? "Paused: go on" : "Live, every 5 seconds: pause");
    this.live.replaceChildren(
      ...(this.paused ? [icon("play"), "Paused"] : [h("span.pulse", { "aria-hidden": "true" }), "Live", icon("pause")]),
    );
  }

  /** Ask for what is in view, and again after a while. It waits longer where answers take long. */
  async refresh() {
    clearTimeout(this.timer);
    const round = (this.round = Symbol("round"));
    const started = performance.now();
    await Promise.all(this.panels.map((panel) => panel.invalidate()));
    if (this.round !== round) return;
    const took = performance.now() - started;
    if (this.isLive)
      this.timer = setTimeout(
        () => {
          if (this.isLive && document.visibilityState === "visible") this.refresh();
        },
        Math.max(EVERY_MS, 3 * took),
      );
  }

  redraw() {
    for (const panel of this.panels) panel.redraw();
  }

  destroy() {
    clearTimeout(this.timer);
    this.round = undefined;
    this.seen.disconnect();
    document.removeEventListener("visibilitychange", this.wake);
    for (const panel of this.panels) panel.destroy();
  }
}
