// The button of the time range: presets, or a start and an end of one's own.

import { h, icon, popover } from "./dom.js";
import { RANGES, moment, rangeText } from "./format.js";

/**
 * @param {() => {from: string, to: string}} current
 * @param {(from: string, to: string) => void} choose
 */
export function timeRange(current, choose) {
  const text = h("span.value");
  const button = h("button.field", { type: "button", "aria-haspopup": "dialog" }, icon("clock"), text, icon("down"));
  const from = h("input", { type: "datetime-local", step: "1", required: true });
  const to = h("input", { type: "datetime-local", step: "1", required: true });
  const wrong = h("p.wrong", { role: "alert" });
  const presets = RANGES.map(([value, name]) =>
    h("button.plain", { type: "button", data: { value }, onclick: () => take(value, "now") }, name),
  );
  const own = h(
    "form",
    { onsubmit: submit },
    h("label", {}, "From", from),
    h("label", {}, "To", to),
    wrong,
    h("button.primary", { type: "submit" }, "Apply"),
  );
  const content = popover(
    button,
    h("div.timerange", { role: "dialog", "aria-label": "Time range" }, h("div.presets", {}, presets), own),
    () => {
      const range = current();
      from.value = local(moment(range.from));
      to.value = local(moment(range.to, true));
      wrong.textContent = "";
      const chosen = presets.find((preset) => range.to === "now" && preset.dataset.value === range.from);
      for (const preset of presets) preset.setAttribute("aria-pressed", String(preset === chosen));
      (chosen ?? presets[0]).focus();
    },
  );

  function submit(event) {
    event.preventDefault();
    const [start, end] = [new Date(from.value).getTime(), new Date(to.value).getTime()];
    if (start < end) take(String(start), String(end));
    else wrong.textContent = "The start must be before the end.";
  }

  function take(start, end) {
    content.hidePopover();
    choose(start, end);
  }

  function update() {
    const range = current();
    text.textContent = rangeText(range.from, range.to);
    button.setAttribute("aria-label", `Time range: ${text.textContent}`);
  }
  update();
  return { element: h("div.control", {}, button, content), update };
}

/** As an input of type datetime-local wants it: this machine's time zone, no zone written. */
function local(ms) {
  const date = new Date(ms);
  if (Number.isNaN(ms)) return "";
  return new Date(ms - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
