// A table of a result: sorted by a click on a heading, with links out of its cells.

import { h, icon } from "./dom.js";
import { heading } from "./format.js";
import { cellText, isNumber, isTime, level, numeric, typed } from "./result.js";

const AT_FIRST = 200;

/**
 * @param {HTMLElement} box where it goes
 * @param {import("./result.js").Result} result
 * @param {object} options
 * @param {string} options.label for screen readers
 * @param {any} [options.panel] units, headings, links and bars
 * @param {(kind: string, value: string) => string | null} [options.link] URL of a value
 * @param {any} [options.state] is kept by the caller from one drawing to the next: order, number of rows
 */
export function drawTable(box, result, { label, panel = {}, link = () => null, state = {} }) {
  const settings = result.columns.map((column) => panel.columns?.[column.name] ?? {});
  const rows = sorted(result, state);
  const shown = rows.slice(0, state.shown ?? AT_FIRST);
  const tops = result.columns.map((column, i) =>
    settings[i].bar && isNumber(column) ? Math.max(...result.rows.map((row) => numeric(row[i]) ?? 0)) : 0,
  );
  const redraw = () => drawTable(box, result, { label, panel, link, state });

  const head = result.columns.map((column, i) => {
    const order = state.column === column.name ? (state.down ? "descending" : "ascending") : null;
    const sort = () => {
      // Numbers and times: most and latest first.
      const down = order ? order === "ascending" : isNumber(column) || isTime(column);
      Object.assign(state, { column: column.name, down });
      redraw();
      /** @type {any} */ (box.querySelectorAll("th button")[i])?.focus();
    };
    return h(
      isNumber(column) ? "th.number" : "th",
      { scope: "col", "aria-sort": order },
      h(
        "button",
        { type: "button", onclick: sort },
        heading(column.name, settings[i]),
        order && h("span.order", { "aria-hidden": "true" }, order === "ascending" ? "▲" : "▼"),
      ),
    );
  });
  const body = shown.map((row) =>
    h(
      "tr",
      {},
      row.map((value, i) => cell(result.columns[i], value, settings[i], panel, tops[i], link)),
    ),
  );
  const more =
    rows.length > shown.length &&
    h(
      "button.plain.more",
      {
        type: "button",
        onclick: () => {
          state.shown = rows.length;
          redraw();
        },
      },
      `Show all ${rows.length.toLocaleString("en")} rows`,
    );
  const scrolled = box.querySelector(".scroll");
  const [x, y] = [scrolled?.scrollLeft ?? 0, scrolled?.scrollTop ?? 0];
  const scroll = h(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("caption.hidden", {}, label), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
    more,
  );
  box.replaceChildren(scroll);
  scroll.scrollTo(x, y);
}

function sorted(result, state) {
  const place = result.columns.findIndex((column) => column.name === state.column);
  if (place < 0) return result.rows;
  const column = result.columns[place];
  const sign = state.down ? -1 : 1;
  return result.rows
    .map((row) => [typed(column, row[place]), row])
    .sort(([a], [b]) => {
      if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1; // nothing comes last
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    })
    .map(([, row]) => row);
}

function cell(column, value, setting, panel, top, link) {
  const unit = setting.unit || panel.unit;
  const text = cellText(column, value, unit);
  const number = isNumber(column);
  const props = { title: text.length > 40 ? text : null };
  const href = setting.link && value !== null && value !== "" ? link(setting.link, String(value)) : null;
  const colour =
    setting.color || (number && setting.unit === panel.unit ? level(numeric(value), panel.thresholds) : "");
  const content = href
    ? h(
        "a",
        { href, title: setting.link === "trace" ? "Open the trace" : `Only this ${setting.link}` },
        setting.link === "trace" ? [icon("workflow"), text.slice(0, 8)] : text,
      )
    : text;
  const share = top > 0 ? Math.max(0, (numeric(value) ?? 0) / top) : 0;
  const bar =
    top > 0 && h("span.cellbar", { "aria-hidden": "true" }, h("span", { style: { width: `${share * 100}%` } }));
  return h(
    `td${number ? ".number" : ""}${colour ? `.${colour}` : ""}`,
    props,
    bar ? h("div.barred", {}, bar, h("span", {}, content)) : content,
  );
}
