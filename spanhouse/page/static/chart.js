// Time series, drawn by uPlot: crosshair over all charts, drag to zoom, click to narrow, a legend that toggles.

import { h } from "./dom.js";
import { heading, number, time } from "./format.js";
import { isNumber, isTime, level, typed } from "./result.js";

/* global uPlot */

// A missing point of these is nothing that happened, so it is 0; of others (a latency, a cost per call) it is unknown.
const COUNTED = new Set(["count", "tokens", "rate", "bytes"]);
const isCounted = (panel) => COUNTED.has(panel.unit) || panel.stack || panel.draw === "bars";
const COLOURS = 8;
/** How panels call all names but the greatest. */
export const OTHER = "other";
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The same name has the same colour wherever it can. @param {string[]} names @returns {Map<string, number>} */
export function colours(names) {
  const taken = new Set();
  const found = new Map();
  for (const name of [...names].sort()) {
    let slot = 0;
    for (const character of name) slot = (slot * 31 + character.charCodeAt(0)) % 9973;
    slot %= COLOURS;
    while (taken.has(slot) && taken.size < COLOURS) slot = (slot + 1) % COLOURS;
    taken.add(slot);
    found.set(name, slot);
  }
  return found;
}

/**
 * A result as series on common times.
 * @param {import("./result.js").Result} result
 * @param {any} panel
 * @param {number} end of the time range, in milliseconds
 */
export function series(result, panel, end) {
  const at = result.columns.findIndex(isTime);
  const names = result.columns.findIndex((column, i) => i !== at && !isNumber(column));
  const numbers = result.columns.map((_, i) => i).filter((i) => i !== at && i !== names);
  const dimension = names < 0 ? "" : (panel.columns[result.columns[names].name]?.link ?? "");
  /** @type {Map<string, {key: string, name: string, value: string | null, points: Map<number, number>}>} */
  const found = new Map();
  const times = new Set();
  for (const row of result.rows) {
    const x = typed(result.columns[at], row[at]);
    times.add(x);
    for (const i of numbers) {
      const column = result.columns[i];
      const title = heading(column.name, panel.columns[column.name]);
      const name = names < 0 ? title : numbers.length > 1 ? `${row[names]} ${title}` : String(row[names]);
      const key = names < 0 ? column.name : name;
      let one = found.get(key);
      if (!one) found.set(key, (one = { key, name, value: names < 0 ? null : String(row[names]), points: new Map() }));
      const y = typed(column, row[i]);
      if (y !== null && !Number.isNaN(y)) one.points.set(x, y);
    }
  }
  const xs = [...times].sort((a, b) => a - b);
  const step = xs.length > 1 ? Math.min(...xs.slice(1).map((x, i) => x - xs[i])) : 60_000;
  const grid = isCounted(panel) && xs.length ? filled(xs, step, end) : xs;
  const missing = isCounted(panel) ? 0 : null;
  const list = [...found.values()].map((one) => ({
    ...one,
    setting: panel.columns[one.key] ?? panel.columns[one.value ?? ""] ?? {},
    data: grid.map((x) => one.points.get(x) ?? missing),
  }));
  return { xs: grid, step, dimension, list };
}

/** With the times between at which nothing happened, up to the last whole step. */
function filled(xs, step, end) {
  const last = Math.max(xs.at(-1), Math.min(end - step, Date.now() - 2 * step));
  if ((last - xs[0]) / step > 5000) return xs;
  const all = new Set(xs);
  for (let x = xs[0]; x <= last; x += step) all.add(x);
  return [...all].sort((a, b) => a - b);
}

/** One chart; it stays when new data comes. */
export class Chart {
  /**
   * @param {HTMLElement} box
   * @param {any} panel
   * @param {{zoom: (from: number, to: number) => void, actions: (at: number, step: number, dimension: string, value: string | null) => any[], range: () => [number, number]}} events
   */
  constructor(box, panel, events) {
    this.panel = panel;
    this.events = events;
    this.hidden = new Set();
    this.plot = null;
    this.shape = "";
    this.pinned = false;
    this.draggedAt = 0;
    this.canvas = h("div.plot", { role: "img", onclick: () => this.pin() });
    this.legend = h("div.legend", { role: "group", "aria-label": "Series" });
    this.tip = h("div.tip", { hidden: true });
    box.replaceChildren(this.canvas, this.legend);
    document.body.append(this.tip);
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(this.canvas);
    this.leave = (event) => {
      if (this.pinned && !(event.type === "keydown" ? event.key !== "Escape" : this.tip.contains(event.target)))
        this.unpin();
    };
    document.addEventListener("pointerdown", this.leave);
    document.addEventListener("keydown", this.leave);
  }

  destroy() {
    this.plot?.destroy();
    this.resized.disconnect();
    this.tip.remove();
    document.removeEventListener("pointerdown", this.leave);
    document.removeEventListener("keydown", this.leave);
  }

  /** @param {import("./result.js").Result} result */
  draw(result) {
    this.result = result;
    this.data = series(result, this.panel, this.events.range()[1]);
    // Columns have colours in their order, names of the data by what they are called; all further names are grey.
    const slots = colours(
      this.data.list.filter((one) => one.value !== null && one.value !== OTHER).map((one) => one.key),
    );
    this.data.list.forEach((one, i) => {
      const colour =
        one.setting.color ||
        (one.value === OTHER ? "muted" : `s${one.value === null ? i % COLOURS : slots.get(one.key)}`);
      one.colour = css(`--${colour}`);
    });
    // The greatest one lies at the bottom of a stack, and first in the legend.
    if (this.panel.stack || this.data.dimension) {
      const sum = (one) => one.data.reduce((a, b) => a + (b ?? 0), 0);
      this.data.list.sort((a, b) => sum(b) - sum(a));
    }
    this.drawLegend();
    this.refresh();
    const names = this.data.list.map(
      (one) => `${one.name} ${number(one.data.findLast((y) => y !== null) ?? null, this.unit(one))}`,
    );
    this.canvas.setAttribute(
      "aria-label",
      `Chart ${this.panel.title}. Latest: ${names.slice(0, 8).join(", ")}. View as table in the panel's menu.`,
    );
  }

  /** The theme has changed. */
  redraw() {
    this.shape = "";
    if (this.result) this.draw(this.result);
  }

  unit(one) {
    return one.setting.unit || this.panel.unit;
  }

  get visible() {
    return this.data.list.filter((one) => !this.hidden.has(one.key));
  }

  /** Give uPlot the data; it is made anew only where other series are shown. */
  refresh() {
    const list = this.visible;
    const xs = this.data.xs.map((x) => x / 1000);
    const ys = list.map((one) => one.data);
    if (this.panel.stack) {
      // Each on top of those before it; the highest is drawn first, the others over it.
      const below = xs.map(() => 0);
      for (let i = 0; i < ys.length; i += 1) {
        ys[i] = ys[i].map((y, x) => (below[x] += y ?? 0));
      }
      ys.reverse();
    }
    const shape = JSON.stringify([list.map((one) => [one.key, one.colour]), this.data.step]);
    if (this.plot && shape === this.shape) {
      this.plot.setData([xs, ...ys]);
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(this.panel.stack ? [...list].reverse() : list), [xs, ...ys], this.canvas);
  }

  options(list) {
    const { panel } = this;
    const bars = panel.draw === "bars" ? uPlot.paths.bars({ size: [0.9, 40], align: 1, gap: 1 }) : undefined;
    const axis = {
      stroke: css("--muted"),
      font: `11px ${css("--font")}`,
      grid: { stroke: css("--grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      ...this.size(),
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "spanhouse" },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        points: { show: !bars, size: 6 },
        bind: { dblclick: () => null },
        y: false,
      },
      scales: {
        x: { time: true, range: () => this.events.range().map((ms) => ms / 1000) },
        y: { range: (_u, low, high) => this.height(low, high) },
      },
      axes: [
        { ...axis, size: 24, space: 72, values: (_u, splits, _i, _s, incr) => this.ticks(splits, incr) },
        {
          ...axis,
          space: 32,
          size: (u, values) => Math.max(32, ...(values ?? []).map((value) => value.length * 6.2 + 14)),
          values: (_u, splits) => splits.map((y) => number(y, panel.unit)),
        },
      ],
      series: [{}, ...list.map((one) => this.line(one, bars))],
      bands: panel.stack && !bars ? list.slice(1).map((_, i) => ({ series: [i + 1, i + 2] })) : undefined,
      hooks: {
        setCursor: [(u) => this.hover(u)],
        setSelect: [(u) => this.select(u)],
        drawAxes: [(u) => this.thresholds(u)],
      },
    };
  }

  line(one, bars) {
    const muted = one.setting.color === "muted";
    const alpha = bars ? "" : this.panel.stack ? "99" : this.visible.length > 1 ? "" : "1f";
    return {
      label: one.name,
      stroke: one.colour,
      width: bars ? 0 : 1.5,
      dash: muted ? [4, 4] : undefined,
      fill: bars || alpha ? one.colour + alpha : undefined,
      paths: bars,
      points: { show: !bars && this.data.xs.length < 3, size: 5 },
    };
  }

  height(low, high) {
    const { max } = this.panel;
    if (low === null || high === null) return [0, max ?? 1];
    const bottom = Math.min(0, low);
    return [bottom, max !== null && max !== undefined && high <= max ? max : high > 0 ? high * 1.08 : 1];
  }

  ticks(splits, incr) {
    return splits.map((x) => {
      const date = new Date(x * 1000);
      const day = date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
      if (incr >= 86_400 || (date.getHours() === 0 && date.getMinutes() === 0)) return day;
      return date.toLocaleTimeString("en-GB", {
        hour: "2-digit",
        minute: "2-digit",
        second: incr < 60 ? "2-digit" : undefined,
      });
    });
  }

  thresholds(u) {
    const context = u.ctx;
    for (const step of this.panel.thresholds) {
      const y = Math.round(u.valToPos(step.value, "y", true));
      if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) continue;
      context.save();
      context.strokeStyle = css(`--${step.color}`);
      context.globalAlpha = 0.6;
      context.setLineDash([6, 4]);
      context.beginPath();
      context.moveTo(u.bbox.left, y);
      context.lineTo(u.bbox.left + u.bbox.width, y);
      context.stroke();
      context.restore();
    }
  }

  size() {
    return { width: Math.max(80, this.canvas.clientWidth), height: Math.max(60, this.canvas.clientHeight) };
  }

  resize() {
    if (this.plot) this.plot.setSize(this.size());
  }

  select(u) {
    if (u.select.width < 6) return;
    const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.draggedAt = performance.now();
    this.events.zoom(Math.floor(from * 1000), Math.ceil(to * 1000));
  }

  /** The lines of the tooltip: the values at a time, most first. */
  lines(index) {
    return this.visible
      .map((one) => ({ one, y: one.data[index] }))
      .filter(({ y }) => y !== null && y !== undefined)
      .sort((a, b) => b.y - a.y);
  }

  hover(u) {
    const index = u.cursor.idx;
    const own = u.over.matches(":hover");
    if (this.pinned) return;
    if (!own || index === null || index === undefined) {
      this.tip.hidden = true;
      return;
    }
    const lines = this.lines(index);
    const near = this.nearest(u, index);
    this.tip.replaceChildren(
      h("div.when", {}, time(this.data.xs[index])),
      h(
        "div.lines",
        {},
        lines
          .slice(0, 12)
          .map(({ one, y }) =>
            h(
              one.key === near?.key && lines.length > 1 ? "div.near" : "div",
              {},
              h("span.dot", { style: { background: one.colour } }),
              h("span.name", {}, one.name),
              h(
                `span.amount${level(y, this.panel.thresholds) ? `.${level(y, this.panel.thresholds)}` : ""}`,
                {},
                number(y, this.unit(one)),
              ),
            ),
          ),
      ),
      (lines.length > 12 && h("div.muted", {}, `and ${lines.length - 12} more`)) || "",
    );
    this.show(u, u.valToPos(u.data[0][index], "x"), u.cursor.top);
  }

  show(u, left, top) {
    this.tip.hidden = false;
    const box = u.over.getBoundingClientRect();
    const width = this.tip.offsetWidth;
    const x = box.left + left;
    const right = x + 16 + width < document.documentElement.clientWidth;
    this.tip.style.left = `${Math.max(4, right ? x + 16 : x - width - 16)}px`;
    this.tip.style.top = `${Math.max(4, Math.min(box.top + top - 20, window.innerHeight - this.tip.offsetHeight - 4))}px`;
  }

  /** The series whose line (or part of a stack) is under the cursor. */
  nearest(u, index) {
    if (u.cursor.top === undefined || u.cursor.top < 0) return null;
    const y = u.posToVal(u.cursor.top, "y");
    if (this.panel.stack) {
      let height = 0;
      return this.visible.find((one) => (height += one.data[index] ?? 0) >= y) ?? null;
    }
    const lines = this.lines(index);
    return (
      lines.reduce((best, line) => (!best || Math.abs(line.y - y) < Math.abs(best.y - y) ? line : best), null)?.one ??
      null
    );
  }

  /** A click keeps the tooltip and offers what can be done with the point. */
  pin() {
    const u = this.plot;
    const index = u?.cursor.idx;
    // The end of a drag is a click, too.
    if (performance.now() - this.draggedAt < 100 || index === null || index === undefined) return;
    this.pinned = false;
    this.hover(u);
    const near = this.nearest(u, index);
    const actions = this.events.actions(this.data.xs[index], this.data.step, this.data.dimension, near?.value ?? null);
    if (!actions.length) return;
    this.tip.append(h("div.actions", {}, actions));
    this.pinned = true;
    this.tip.classList.add("pinned");
    this.show(u, u.valToPos(u.data[0][index], "x"), u.cursor.top);
    for (const action of actions) action.addEventListener("click", () => this.unpin());
  }

  unpin() {
    this.pinned = false;
    this.tip.classList.remove("pinned");
    this.tip.hidden = true;
  }

  drawLegend() {
    const { list } = this.data;
    const single = list.length === 1 && list[0].value === null;
    const focus = [...this.legend.children].indexOf(/** @type {any} */ (document.activeElement));
    this.legend.replaceChildren(
      ...(single
        ? []
        : list.map((one) =>
            h(
              "button",
              {
                type: "button",
                "aria-pressed": String(!this.hidden.has(one.key)),
                title: "Click to hide or show; with Ctrl or ⌘ to show it alone",
                onclick: (event) => this.toggle(one.key, event.ctrlKey || event.metaKey),
              },
              h("span.dot", { style: { background: one.colour } }),
              one.name,
            ),
          )),
    );
    if (focus >= 0) /** @type {any} */ (this.legend.children[focus])?.focus();
  }

  toggle(key, alone) {
    const keys = this.data.list.map((one) => one.key);
    if (alone)
      this.hidden = new Set(
        this.visible.length === 1 && !this.hidden.has(key) ? [] : keys.filter((one) => one !== key),
      );
    else if (!this.hidden.delete(key)) this.hidden.add(key);
    if (keys.every((one) => this.hidden.has(one))) this.hidden.clear();
    this.drawLegend();
    this.refresh();
  }
}
