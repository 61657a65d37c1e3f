// Elements. What comes from the data is written as text alone.

const SVG = document.getElementById("shapes").namespaceURI;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  if (typeof children === "string") element.textContent = children;
  else element.append(...(children ?? []).filter(Boolean));
  return element;
}

/** An HTML element with a text, or with children. */
function el(tag, attributes, children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element with a text, or with children. */
function shape(tag, attributes, children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A choice of one of several; `choose` is told its id. */
function choice(label, options, chosen, choose) {
  const group = "choice-" + label.replace(/\W/g, "-");
  const radios = options.map(({ id, label }) =>
    el("label", {}, [
      el("input", { type: "radio", name: group, value: id, checked: id === chosen, onchange: () => choose(id) }),
      el("span", {}, label),
    ]));
  return el("div", { class: "switch", role: "radiogroup", "aria-label": label }, radios);
}

/** Figures with what they are, in a row; those that are undefined are left out. */
function tiles(figures) {
  const tile = ({ label, figure, note }) =>
    el("div", { class: "tile" }, [
      el("dt", {}, label),
      el("dd", { class: "figure" }, figure),
      note && el("dd", { class: "note" }, note),
    ]);
  return el("dl", { class: "tiles" }, figures.filter((it) => it && it.figure !== undefined).map(tile));
}

/** Names and figures below each other. */
function facts(pairs) {
  const rows = pairs.filter(Boolean).filter(([, text]) => text !== undefined);
  return el("dl", { class: "facts" }, rows.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
}

/** The columns of a table, the first of which has texts and the others numbers. */
const headings = (first, ...others) => [{ label: first }, ...others.map((label) => ({ label, number: true }))];

/** A section with a heading. */
function section(title, tools, children, attributes) {
  const head = el("div", { class: "head" }, [el("h2", {}, title), tools]);
  return el("section", { "aria-label": title, ...attributes }, [head, ...children]);
}

/**
 * Has the arrow keys, Home and End move the focus among elements, of which only one is reached by Tab. `places` are their rows and columns,
 * in this order.
 */
function rove(elements, places = elements.map((_, index) => [0, index])) {
  const hold = (at) => elements.forEach((element, index) => element.setAttribute("tabindex", index === at ? "0" : "-1"));
  const vertical = (index, way) => {
    const [row, column] = places[index];
    const beyond = places.map(([r, c], at) => ({ at, far: (r - row) * way, beside: Math.abs(c - column) })).filter((it) => it.far > 0);
    beyond.sort((a, b) => a.far - b.far || a.beside - b.beside);
    return beyond[0]?.at;
  };
  const next = (key, index) => {
    switch (key) {
      case "ArrowRight": return index + 1;
      case "ArrowLeft": return index - 1;
      case "ArrowDown": return vertical(index, 1);
      case "ArrowUp": return vertical(index, -1);
      case "Home": return 0;
      case "End": return elements.length - 1;
    }
  };
  hold(0);
  elements.forEach((element, index) => {
    element.addEventListener("focus", () => hold(index));
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const to = elements[next(event.key, index)];
      if (!to) return;
      event.preventDefault();
      to.focus();
    });
  });
}

const data = JSON.parse(document.getElementById("data").textContent) ?? {};
const list = (value) => (Array.isArray(value) ? value : []);
const named = (value) => (typeof value === "string" ? value : UNKNOWN);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
