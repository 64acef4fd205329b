// A panel: its frame, its menu, its states (loading, no data, an error), and its data.

import { Unreachable, get, isAbort } from "./api.js";
import { drawBars, drawGauge, drawStat, markdown } from "./blocks.js";
import { Chart } from "./chart.js";
import { h, icon, popover } from "./dom.js";
import { drawTable } from "./table.js";

const DRAW = { stat: drawStat, gauge: drawGauge, bars: drawBars };
let count = 0;

/**
 * What a panel needs to know of the page around it.
 * @typedef {object} Context
 * @property {string} dashboard
 * @property {() => URLSearchParams} params what is asked for: time range, filters, variables
 * @property {() => [number, number]} range in milliseconds
 * @property {(kind: string, value: string) => string | null} link where a value leads
 * @property {(from: number, to: number) => void} zoom
 * @property {(at: number, step: number, dimension: string, value: string | null) => any[]} actions on a point
 * @property {() => string} grafana link to the same dashboard there; "" where there is none
 */

export class Panel {
  /** @param {any} panel of GET /api/dashboards @param {Context} context */
  constructor(panel, context) {
    this.panel = panel;
    this.context = context;
    this.visible = false;
    this.stale = true;
    this.asTable = false;
    this.tableState = {};
    /** @type {import("./result.js").Result | null} */
    this.result = null;
    this.id = `panel-${(count += 1)}`;
    this.body = h("div.body");
    this.note = h("p.note", { role: "alert", hidden: true });
    this.element = h(
      `section.panel.${panel.kind}`,
      { "aria-labelledby": this.id, data: { panel: panel.id }, style: { "--w": panel.width, "--h": panel.height } },
      h(
        "header",
        {},
        h("h3", { id: this.id, title: panel.description || null }, panel.title),
        panel.kind === "text" ? null : this.menu(),
      ),
      this.body,
      this.note,
    );
    if (panel.kind === "text") this.body.replaceChildren(...markdown(panel.text));
    else this.body.append(h("div.skeleton"));
  }

  menu() {
    const button = h(
      "button.icon-button",
      { type: "button", "aria-label": `Menu of ${this.panel.title}`, "aria-haspopup": "dialog" },
      icon("dots"),
    );
    const view = h("button.item", {
      type: "button",
      onclick: () => {
        content.hidePopover();
        this.switch();
      },
    });
    const csv = h("a.item", { download: "" }, icon("download"), "Download CSV");
    const grafana = h("a.item", { target: "_blank", rel: "noreferrer" }, icon("out"), "Open in Grafana");
    const content = h(
      "div.menu",
      { role: "dialog", "aria-label": `Menu of ${this.panel.title}` },
      this.panel.description && h("p.description", {}, this.panel.description),
      this.panel.kind !== "table" && view,
      csv,
      this.context.grafana() && grafana,
    );
    popover(button, content, () => {
      view.replaceChildren(icon("table"), this.asTable ? "View as before" : "View as table");
      const params = this.params();
      params.set("format", "csv");
      csv.href = `${this.url}?${params}`;
      grafana.href = this.context.grafana();
    });
    return [button, content];
  }

  get url() {
    return `/api/panels/${encodeURIComponent(this.context.dashboard)}/${encodeURIComponent(this.panel.id)}`;
  }

  params() {
    const params = this.context.params();
    const per = this.panel.draw === "bars" ? 10 : 3;
    params.set("width", String(Math.max(20, Math.min(400, Math.round((this.element.clientWidth - 60) / per)))));
    return params;
  }

  /** What is shown is not what is asked for any more; it is asked again as soon as it is in view. */
  async invalidate() {
    this.stale = true;
    if (this.visible) await this.load();
  }

  /** @param {boolean} visible whether it is in view */
  show(visible) {
    this.visible = visible;
    if (visible && this.stale) this.load();
  }

  async load() {
    if (this.panel.kind === "text") return;
    this.stale = false;
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      const result = await get(this.url, this.params(), abort.signal);
      if (abort.signal.aborted) return;
      this.fail(null);
      this.draw(result);
    } catch (error) {
      if (isAbort(error) || abort.signal.aborted) return;
      this.stale = true;
      // The banner says it; what was shown stays.
      if (!(error instanceof Unreachable)) this.fail(error);
    }
    this.element.removeAttribute("aria-busy");
  }

  /** Say what is wrong, in the place of the data. @param {any} error */
  fail(error) {
    this.note.hidden = !error;
    this.element.classList.toggle("failed", Boolean(error));
    if (!error) return;
    const text = error instanceof Error ? error.message : String(error);
    if (this.note.firstChild?.textContent === text) return;
    this.note.replaceChildren(
      h("span", {}, text),
      h("button.plain", { type: "button", onclick: () => this.load() }, icon("reload"), "Try again"),
    );
  }

  /** @param {import("./result.js").Result} result */
  draw(result) {
    const same = this.result && JSON.stringify(this.result.rows) === JSON.stringify(result.rows);
    this.result = result;
    // Charts move with the time though their rows may be the same.
    if (same && !this.chart && !this.forced) return;
    this.forced = false;
    if (!result.rows.length) {
      this.drop();
      const filtered = [...this.context.params().keys()].some((key) => key.startsWith("var-"));
      this.body.replaceChildren(
        h("p.empty", {}, `No data in this time range${filtered ? " with these filters" : ""}.`),
      );
      return;
    }
    const { panel, context } = this;
    if (this.asTable || panel.kind === "table") {
      this.drop();
      keepingFocus(this.body, () =>
        drawTable(this.body, result, { label: panel.title, panel, link: context.link, state: this.tableState }),
      );
    } else if (panel.kind === "timeseries") {
      this.chart ??= new Chart(this.body, panel, context);
      this.chart.draw(result);
    } else {
      keepingFocus(this.body, () => DRAW[panel.kind](this.body, result, { panel, link: context.link }));
    }
  }

  switch() {
    this.asTable = !this.asTable;
    this.drop();
    this.forced = true;
    if (this.result) this.draw(this.result);
  }

  /** The theme has changed. */
  redraw() {
    this.chart?.redraw();
  }

  drop() {
    this.chart?.destroy();
    this.chart = undefined;
  }

  destroy() {
    this.abort?.abort();
    this.drop();
  }
}

/** Who is on the third link of a list still is after it was drawn anew. */
function keepingFocus(box, draw) {
  const inside = () => [...box.querySelectorAll("a, button, [tabindex]")];
  const place = inside().indexOf(document.activeElement);
  const top = box.firstElementChild?.scrollTop ?? 0;
  draw();
  if (place >= 0) inside()[place]?.focus({ preventScroll: true });
  if (top) box.firstElementChild.scrollTop = top;
}
