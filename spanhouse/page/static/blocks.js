// Panels made of plain elements: numbers, gauges, bars and text.

import { h, svg } from "./dom.js";
import { heading, number } from "./format.js";
import { cellText, isNumber, level, numeric } from "./result.js";

/** One row of numbers; muted ones are what the others are compared with. */
export function drawStat(box, result, { panel }) {
  const row = result.rows[0] ?? [];
  const figures = result.columns.map((column, i) => ({
    column,
    setting: panel.columns[column.name] ?? {},
    value: isNumber(column) ? numeric(row[i]) : null,
    raw: row[i],
  }));
  const main = figures.filter((figure) => figure.setting.color !== "muted");
  const before = figures.find((figure) => figure.setting.color === "muted" && isNumber(figure.column));
  const only = main.length === 1;
  box.replaceChildren(
    h(
      only ? "div.stat" : "div.stat.several",
      {},
      main.map((figure) => {
        const unit = figure.setting.unit || panel.unit;
        const colour = figure.setting.color || level(figure.value, panel.thresholds);
        return h(
          "div.figure",
          {},
          h(`div.big${colour ? `.${colour}` : ""}`, {}, cellText(figure.column, figure.raw, unit)),
          !only && h("div.muted", {}, heading(figure.column.name, figure.setting)),
        );
      }),
      only && before && compare(main[0].value, before, panel.unit),
    ),
  );
}

/** A percentage beside another unit is a change; anything else is the value of before. */
function compare(value, before, unit) {
  const title = heading(before.column.name, before.setting);
  const own = before.setting.unit || unit;
  const isChange = own === "percent" && unit !== "percent";
  const comparable = /before/.test(before.column.name) && before.value && value !== null && unit !== "percent";
  const change = isChange ? before.value : comparable ? value / before.value - 1 : null;
  if (isChange && change === null) return null;
  const sign = !change ? "" : change > 0 ? "↑ " : "↓ ";
  const size = change !== null && h("span.change", {}, sign, number(Math.abs(change), "percent"), " ");
  return h("div.muted", {}, size, `${title} `, !isChange && h("span.nowrap", {}, number(before.value, own)));
}

/** Half a circle, filled as far as the number goes. */
export function drawGauge(box, result, { panel }) {
  const place = result.columns.findIndex(isNumber);
  const value = place < 0 ? null : numeric(result.rows[0]?.[place]);
  const max =
    panel.max ??
    (panel.unit === "percent" ? 1 : Math.max(value ?? 0, ...panel.thresholds.map((step) => step.value)) || 1);
  const share = Math.max(0, Math.min(1, (value ?? 0) / max));
  const arc = (to) => {
    const angle = Math.PI * (1 - to);
    return `M 10 60 A 50 50 0 0 1 ${60 + 50 * Math.cos(angle)} ${60 - 50 * Math.sin(angle)}`;
  };
  const text = number(value, panel.unit);
  const drawing = svg(
    "svg",
    {
      viewBox: "0 0 120 68",
      class: `gauge ${level(value, panel.thresholds)}`,
      role: "img",
      "aria-label": `${panel.title}: ${text} of ${number(max, panel.unit)}`,
    },
    svg("path", { d: arc(1), class: "track" }),
    ...(share > 0 ? [svg("path", { d: arc(share), class: "filled" })] : []),
  );
  const label = svg("text", { x: 60, y: 58 });
  label.textContent = text;
  drawing.append(label);
  box.replaceChildren(drawing);
}

/** A name, a bar and a number on each line. */
export function drawBars(box, result, { panel, link }) {
  const names = result.columns.findIndex((column) => !isNumber(column));
  const place = result.columns.findIndex(isNumber);
  const setting = panel.columns[result.columns[place]?.name] ?? {};
  const nameSetting = panel.columns[result.columns[names]?.name] ?? {};
  const top = Math.max(...result.rows.map((row) => Math.abs(numeric(row[place]) ?? 0)));
  box.replaceChildren(
    h(
      "ul.bars.scroll",
      { tabindex: "0", "aria-label": panel.title },
      result.rows.map((row) => {
        const name = names < 0 ? "" : cellText(result.columns[names], row[names], "");
        const value = numeric(row[place]);
        const href = nameSetting.link && name ? link(nameSetting.link, name) : null;
        const colour = setting.color || level(value, panel.thresholds);
        return h(
          `li${colour ? `.${colour}` : ""}`,
          {},
          h("span.name", { title: name }, href ? h("a", { href }, name) : name),
          h("span.amount", {}, number(value, setting.unit || panel.unit)),
          h(
            "span.track",
            { "aria-hidden": "true" },
            h("span", { style: { width: `${top > 0 ? (Math.abs(value ?? 0) / top) * 100 : 0}%` } }),
          ),
        );
      }),
    ),
  );
}

/**
 * Paragraphs, lists, **bold**, `code` and [links](https://…): what our dashboards' texts use of Markdown.
 * @param {string} text
 */
export function markdown(text) {
  return text
    .trim()
    .split(/\n\s*\n/)
    .map((block) => {
      const lines = block.split("\n");
      if (lines.every((line) => /^\s*[-*] /.test(line)))
        return h(
          "ul",
          {},
          lines.map((line) => h("li", {}, inline(line.replace(/^\s*[-*] /, "")))),
        );
      const title = /^#{1,4} (.*)$/.exec(block);
      return title ? h("p", {}, h("strong", {}, inline(title[1]))) : h("p", {}, inline(lines.join(" ")));
    });
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)\s]+\))/).map((part) => {
    if (part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    const link = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(part);
    if (!link) return part;
    return /^(https?:\/\/|\/(?!\/))/.test(link[2]) ? h("a", { href: link[2], rel: "noreferrer" }, link[1]) : link[1];
  });
}
