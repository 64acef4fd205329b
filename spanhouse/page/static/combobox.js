// A field with type-ahead for one or several values: WAI-ARIA's pattern "editable combobox with list".

import { h, icon, popover } from "./dom.js";

const SHOWN = 200;
let count = 0;

/**
 * @param {object} options
 * @param {string} options.label
 * @param {boolean} options.multi whether several can be chosen; none is "All" then
 * @param {() => string[]} options.chosen what is chosen now
 * @param {() => Promise<string[]>} options.values what can be chosen
 * @param {(values: string[], first: boolean) => void} options.change `first` is false for a further change
 *   while the list stays open
 * @returns {{element: HTMLElement, update: () => void}} `update` is to be called when `chosen` is another
 */
export function combobox({ label, multi, chosen, values, change }) {
  const id = `list-${(count += 1)}`;
  const state = { all: /** @type {string[]} */ ([]), shown: /** @type {string[]} */ ([]), active: 0, touched: false };

  const value = h("span.value");
  const button = h(
    "button.field",
    { type: "button", "aria-haspopup": "dialog" },
    h("span.label", {}, label),
    " ",
    value,
    icon("down"),
  );
  const input = h("input", {
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: `Find ${label.toLowerCase()} …`,
    "aria-label": label,
    "aria-autocomplete": "list",
    "aria-expanded": "true",
    "aria-controls": id,
  });
  const list = h("ul.options", {
    role: "listbox",
    id,
    "aria-label": label,
    "aria-multiselectable": multi ? "true" : null,
  });
  const note = h("p.note", { role: "status" });
  const clear = multi && h("button.plain", { type: "button", onclick: () => set([]) }, "All");
  const content = h(
    "div.combobox",
    { role: "dialog", "aria-label": label },
    h("div.find", {}, input, clear),
    list,
    note,
  );
  popover(button, content, opened);

  async function opened() {
    Object.assign(state, { all: chosen(), active: 0, touched: false });
    input.value = "";
    input.focus();
    note.textContent = "loading …";
    draw();
    try {
      const found = await values();
      // What is chosen stays in the list though it does not occur in this time range.
      state.all = [...new Set([...chosen(), ...found])];
      note.textContent = state.all.length ? "" : "Nothing to choose from in this time range.";
    } catch (error) {
      note.textContent = error instanceof Error ? error.message : String(error);
    }
    draw();
  }

  function draw() {
    const typed = input.value.trim().toLowerCase();
    const matching = state.all.filter((one) => one.toLowerCase().includes(typed));
    state.shown = matching.slice(0, SHOWN);
    state.active = Math.max(0, Math.min(state.active, state.shown.length - 1));
    const now = new Set(chosen());
    list.replaceChildren(
      ...state.shown.map((one, index) =>
        h(
          "li",
          {
            role: "option",
            id: `${id}-${index}`,
            "aria-selected": String(now.has(one)),
            onclick: () => {
              state.active = index;
              toggle(one);
            },
            onpointermove: () => {
              if (state.active !== index) {
                state.active = index;
                mark();
              }
            },
          },
          h("span.tick", {}, icon("check")),
          h("span.text", {}, one),
        ),
      ),
    );
    if (matching.length > SHOWN) note.textContent = `${matching.length - SHOWN} more; type to find them.`;
    else if (state.all.length) note.textContent = matching.length ? "" : "Nothing matches.";
    mark();
  }

  function mark() {
    [...list.children].forEach((option, index) => option.classList.toggle("active", index === state.active));
    if (state.shown.length) input.setAttribute("aria-activedescendant", `${id}-${state.active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function toggle(one) {
    const now = chosen();
    if (!multi) {
      content.hidePopover();
      if (now[0] !== one) change([one], true);
      return;
    }
    set(now.includes(one) ? now.filter((other) => other !== one) : [...now, one]);
  }

  function set(next) {
    change(next, !state.touched);
    state.touched = true;
    draw();
  }

  // The focus stays in the field.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  input.addEventListener("input", () => {
    state.active = 0;
    draw();
  });
  input.addEventListener("keydown", (event) => {
    const last = state.shown.length - 1;
    const to = {
      ArrowDown: state.active + 1,
      ArrowUp: state.active - 1,
      PageDown: state.active + 10,
      PageUp: state.active - 10,
    }[event.key];
    if (to !== undefined)
      state.active =
        to > last ? (event.key === "ArrowDown" ? 0 : last) : to < 0 ? (event.key === "ArrowUp" ? last : 0) : to;
    else if (event.key === "Enter" && state.shown.length) toggle(state.shown[state.active]);
    else return;
    event.preventDefault();
    mark();
    list.children[state.active]?.scrollIntoView({ block: "nearest" });
  });

  function update() {
    const now = chosen();
    value.textContent = now.length ? (now.length > 1 ? `${now[0]} +${now.length - 1}` : now[0]) : multi ? "All" : "–";
    button.classList.toggle("set", multi && now.length > 0);
    button.title = now.length > 1 ? now.join(", ") : "";
  }
  update();
  return { element: h("div.control", {}, button, content), update };
}
