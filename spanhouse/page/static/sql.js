// The SQL box.

import { isAbort, post } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { csv } from "./result.js";
import { go, withParams } from "./route.js";
import { drawTable } from "./table.js";

const EXAMPLES = [
  [
    "Cost per model today",
    `SELECT model, sum(calls) AS calls, sum(tokens_total) AS tokens, toFloat64(sum(cost_usd)) AS usd
FROM agent_metrics_1m
WHERE minute >= toStartOfDay(now()) AND tokens_total > 0
GROUP BY model
ORDER BY usd DESC`,
  ],
  [
    "Latest spans",
    `SELECT ts, service, kind, name, latency_ms, status, trace_id
FROM agent_events
WHERE ts > now() - INTERVAL 1 HOUR
ORDER BY ts DESC
LIMIT 100`,
  ],
  [
    "Slowest traces of the last hour",
    `SELECT trace_id, service, name, latency_ms, status, ts
FROM agent_events
WHERE parent_span_id = '' AND ts > now() - INTERVAL 1 HOUR
ORDER BY latency_ms DESC
LIMIT 20`,
  ],
  [
    "Which tools fail",
    `SELECT tool_name, count() AS runs, countIf(status = 'error') AS failed, any(error_message) AS for_example
FROM agent_events
WHERE kind IN ('tool', 'mcp') AND ts > now() - INTERVAL 1 DAY
GROUP BY tool_name
ORDER BY failed DESC`,
  ],
  [
    "Tables and columns",
    `SELECT table, name, type
FROM system.columns
WHERE database = currentDatabase()
ORDER BY table, position`,
  ],
];

export class SqlView {
  /** @param {any} site */
  constructor(site) {
    this.title = "SQL";
    const apple = /Mac|iPhone|iPad/.test(navigator.platform);
    this.text = h("textarea.sql", {
      id: "query",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      rows: "8",
      "aria-describedby": "query-keys",
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.submit();
    });
    this.button = h("button.primary", { type: "submit" }, icon("play"), "Run");
    this.save = h(
      "button.field",
      { type: "button", disabled: true, onclick: () => this.download() },
      icon("download"),
      "CSV",
    );
    const examples = h(
      "select.field",
      { "aria-label": "Examples", onchange: () => this.example(examples) },
      h("option", { value: "" }, "Examples …"),
      EXAMPLES.map(([name], i) => h("option", { value: String(i) }, name)),
    );
    this.note = h("p.note", { role: "alert", hidden: true });
    this.summary = h("p.muted.summary", { role: "status" });
    this.output = h("div.output");
    this.element = h(
      "div.sqlpage",
      {},
      h(
        "div.top",
        {},
        h(
          "div.heading",
          {},
          h("h1", { tabindex: "-1" }, "SQL"),
          h(
            "p.muted",
            {},
            "Ask the tables agent_events, agent_metrics_1m and agent_metrics_1h. Reading only.",
            site.sql_url && [" Any ClickHouse client can ask, too: ", h("code", {}, site.sql_url)],
          ),
        ),
      ),
      h(
        "form.query",
        {
          onsubmit: (event) => {
            event.preventDefault();
            this.submit();
          },
        },
        h("label.hidden", { for: "query" }, "Query"),
        this.text,
        h(
          "div.bar",
          {},
          this.button,
          h("span.muted", { id: "query-keys" }, apple ? "⌘ Enter" : "Ctrl Enter"),
          h("span.grow"),
          examples,
          this.save,
        ),
      ),
      this.note,
      this.summary,
      this.output,
    );
  }

  start() {
    this.update();
    this.text.focus();
  }

  /** The URL has changed: it has the query. */
  update() {
    const query = new URLSearchParams(location.search).get("q");
    this.text.value = query ?? (this.text.value || EXAMPLES[0][1]);
    if (query) this.run(query);
  }

  example(select) {
    if (select.value === "") return;
    this.text.value = EXAMPLES[Number(select.value)][1];
    select.value = "";
    this.submit();
  }

  submit() {
    const query = this.text.value.trim();
    if (!query) return;
    const url = withParams({ q: query });
    if (url === location.pathname + location.search) this.run(query);
    else go(url);
  }

  async run(query) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.button.setAttribute("aria-busy", "true");
    this.summary.textContent = "running …";
    try {
      const result = await (await post("/api/sql", { query }, abort.signal)).json();
      this.result = result;
      this.note.hidden = true;
      this.save.disabled = false;
      const rows = `${result.rows.length.toLocaleString("en")} row${result.rows.length === 1 ? "" : "s"}`;
      this.summary.textContent = `${rows} in ${result.seconds.toFixed(3)} s${result.truncated ? "; there are more, add a LIMIT or download them as CSV" : ""}`;
      this.draw();
      announce(this.summary.textContent);
    } catch (error) {
      if (isAbort(error)) return;
      this.summary.textContent = "";
      this.output.replaceChildren();
      this.save.disabled = true;
      this.note.hidden = false;
      this.note.replaceChildren(h("span", {}, error instanceof Error ? error.message : String(error)));
    }
    this.button.removeAttribute("aria-busy");
  }

  draw() {
    const columns = Object.fromEntries(
      this.result.columns.map((column) => [
        column.name,
        { title: column.name, link: column.name === "trace_id" ? "trace" : "" },
      ]),
    );
    if (this.result.columns.length)
      drawTable(this.output, this.result, {
        label: "Result",
        panel: { columns, unit: "raw" },
        link: (_kind, value) => `/trace/${encodeURIComponent(value)}`,
      });
  }

  async download() {
    let content = csv(this.result);
    if (this.result.truncated) {
      const query = new URLSearchParams(location.search).get("q") ?? "";
      content = await (await post("/api/sql?format=csv", { query })).text();
    }
    const url = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    h("a", { href: url, download: "spanhouse.csv" }).click();
    URL.revokeObjectURL(url);
  }

  refresh() {}

  redraw() {}

  destroy() {
    this.abort?.abort();
  }
}
