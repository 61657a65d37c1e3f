// Heat maps of weights by layer and kind.

/** The most weights outside of layers that are drawn. */
const MOST_REST = 300;

/** The mean of a figure over weights, by their number of values; null where it is not known. */
function meanOf(weights, value) {
  const known = weights.filter((weight) => isNumber(value(weight)));
  const values = (weight) => weight.values || 1;
  const all = known.reduce((sum, weight) => sum + values(weight), 0);
  return known.length === 0 ? null : known.reduce((sum, weight) => sum + value(weight) * values(weight), 0) / all;
}

/**
 * Where each value of a mode is between the least and the largest of the weights in layers, from 0 to 1, and these two. Weights outside of
 * layers can be beyond them: they would leave the others without a difference.
 */
function shareOf(mode, weights, rest) {
  const isShown = (value) => isNumber(value) && (!mode.log || value > 0);
  const all = weights.map(mode.value).filter(isShown);
  if (all.length === 0) return { share: () => 0, low: UNKNOWN, high: UNKNOWN };
  const outside = new Set(rest);
  const inside = weights.filter((weight) => !outside.has(weight)).map(mode.value).filter(isShown);
  const [low, high] = extent(inside.length > 0 ? inside : all);
  const [least, most] = extent(all);
  const of = mode.log ? Math.log : (value) => value;
  const wide = of(high) - of(low);
  const within = (value) => (wide === 0 ? 0.5 : Math.min(1, Math.max(0, (of(value) - of(low)) / wide)));
  const ends = [`${least < low ? "\u2264 " : ""}${mode.format(low)}`, `${most > high ? "\u2265 " : ""}${mode.format(high)}`];
  return { share: (value) => (mode.log && value <= 0 ? 0 : within(value)), low: ends[0], high: ends[1] };
}

/**
 * A heat map that shows one of several modes: `{id, label, ramp, log, value, brief or text, say, format, unit}`:
 * colors are those of `value`; a cell has the `brief` of the mean of its weights' values, or the `text` that they share; `say` is all of a
 * weight, `format` a value in the legend. `pick` is told the weights of a cell.
 * Answers the element, and a function that marks the cell of a weight.
 */
function heatmap(weights, modes, pick) {
  const places = byPlace(weights);
  const box = el("div");
  const cells = [];
  let picked = null;
  let mode = modes[0];

  const cell = (there, share, children, title, place) => {
    const value = meanOf(there, mode.value);
    const part = isNumber(value) ? share(value) : 0;
    const className = isNumber(value) ? "cell" : "cell none";
    const button = el("button", { type: "button", class: className, title, "aria-label": title, onclick: () => pick(there) }, children);
    button.style.setProperty("--share", `${(100 * part).toFixed(1)}%`);
    cells.push({ button, there, place });
    return button;
  };
  const said = (there) => {
    if (mode.brief) return mode.brief(meanOf(there, mode.value));
    const texts = new Set(there.map(mode.text));
    return texts.size === 1 ? shortened([...texts][0], 24) : mode.format(meanOf(there, mode.value));
  };
  const title = (there, what) => `${shortened(what, 200)}: ${there.length === 1 ? mode.say(there[0]) : said(there)}`;

  const grid = (share) => {
    const head = places.kinds.map((kind) => el("th", { scope: "col", title: kind }, [el("span", {}, shortened(kind, 34))]));
    const row = (layer, line) =>
      el("tr", {}, [
        el("th", { scope: "row" }, String(layer)),
        ...places.kinds.map((kind, column) => {
          const there = places.at(layer, kind);
          if (there.length === 0) return el("td");
          const what = there.length === 1 ? there[0].name : `layer ${layer}, ${kind}, ${there.length} weights`;
          return el("td", {}, [cell(there, share, said(there), title(there, what), [line, column])]);
        }),
      ]);
    const table = el("table", { class: "heat turned", "aria-label": `${mode.label} by layer and kind` }, [
      el("thead", {}, [el("tr", {}, [el("td"), ...head])]),
      el("tbody", {}, places.layers.map(row)),
    ]);
    table.style.minWidth = `${36 + 36 * places.kinds.length}px`;
    const scroll = el("div", { class: "scroll" }, [table]);
    // Names stand upright where each has room.
    const longest = Math.max(...places.kinds.map((kind) => kind.length));
    atWidth(scroll, (width) => table.classList.toggle("turned", (width - 36) / places.kinds.length < 7 * longest + 4));
    return scroll;
  };
  const rest = (share) => {
    const item = (weight, index) => {
      const children = [el("span", { class: "name" }, shortened(weight.name || NAMELESS, 80)), el("span", {}, said([weight]))];
      return el("li", {}, [cell([weight], share, children, title([weight], weight.name), [places.layers.length + index, 0])]);
    };
    const more = places.rest.length - MOST_REST;
    return [
      el("h3", {}, places.layers.length ? "Outside of the layers" : "Weights"),
      el("ul", { class: "rest" }, places.rest.slice(0, MOST_REST).map(item)),
      more > 0 && el("p", { class: "soft small" }, `and ${count(more)} more, in the table`),
    ];
  };
  const draw = () => {
    cells.length = 0;
    const { share, low, high } = shareOf(mode, weights, places.rest);
    const legend = el("p", { class: `legend ${mode.ramp}` }, [
      el("span", { class: "end" }, low),
      low !== high && el("i", { "aria-hidden": "true" }),
      low !== high && el("span", { class: "end" }, high),
      el("span", {}, mode.unit),
    ]);
    box.className = mode.ramp;
    box.replaceChildren(...[places.layers.length > 0 && grid(share), legend, ...(places.rest.length ? rest(share) : [])].filter(Boolean));
    rove(cells.map((it) => it.button), cells.map((it) => it.place));
    mark(picked);
  };
  const mark = (weight) => {
    picked = weight;
    cells.forEach(({ button, there }) => button.setAttribute("aria-pressed", String(there.includes(weight))));
  };
  draw();
  const choose = (id) => {
    mode = modes.find((it) => it.id === id);
    draw();
  };
  const tools = modes.length > 1 && choice("Colors show", modes, mode.id, choose);
  return { box, tools, mark, at: (weight) => cells.find(({ there }) => there.includes(weight))?.there ?? [weight] };
}
