// Heat maps of weights by layer and kind.

/** The mean of a figure over weights, by their number of values; null where it is not known. */
function meanOf(weights, value) {
  const known = weights.filter((weight) => isNumber(value(weight)));
  const values = (weight) => weight.values || 1;
  const all = known.reduce((sum, weight) => sum + values(weight), 0);
  return known.length === 0 ? null : known.reduce((sum, weight) => sum + value(weight) * values(weight), 0) / all;
}

/** Where each value of a mode is between the least and the largest, from 0 to 1. */
function shareOf(mode, values) {
  const known = values.filter((value) => isNumber(value) && (!mode.log || value > 0));
  if (known.length === 0) return { share: () => 0, low: null, high: null };
  const [low, high] = extent(known);
  const of = mode.log ? Math.log : (value) => value;
  const wide = of(high) - of(low);
  const share = (value) => (mode.log && value <= 0 ? 0 : wide === 0 ? 0.5 : (of(value) - of(low)) / wide);
  return { share, low, high };
}

/**
 * A heat map that shows one of several modes: `{id, label, ramp, log, value, text, format}`. `pick` is told the weights of a cell.
 * Answers the element, and a function that marks the cell of a weight.
 */
function heatmap(weights, modes, pick) {
  const places = byPlace(weights);
  const box = el("div");
  const cells = [];
  let picked = null;
  let mode = modes[0];

  const cell = (there, share, children, title) => {
    const value = meanOf(there, mode.value);
    const part = isNumber(value) ? share(value) : 0;
    const className = isNumber(value) ? "cell" : "cell none";
    const button = el("button", { type: "button", class: className, title, "aria-label": title, onclick: () => pick(there) }, children);
    button.style.setProperty("--share", `${(100 * part).toFixed(1)}%`);
    cells.push({ button, there });
    return button;
  };
  const said = (there) => {
    const texts = new Set(there.map(mode.text));
    return texts.size === 1 ? [...texts][0] : mode.mixed?.(there) ?? mode.format(meanOf(there, mode.value));
  };
  const title = (there, what) => `${shortened(what, 200)}: ${mode.say?.(there[0]) && there.length === 1 ? mode.say(there[0]) : said(there)}`;

  const grid = (share) => {
    const head = places.kinds.map((kind) => el("th", { scope: "col", title: kind }, [el("span", {}, shortened(kind, 34))]));
    const row = (layer) =>
      el("tr", {}, [
        el("th", { scope: "row" }, String(layer)),
        ...places.kinds.map((kind) => {
          const there = places.at(layer, kind);
          if (there.length === 0) return el("td");
          const what = there.length === 1 ? there[0].name : `layer ${layer}, ${kind}, ${there.length} weights`;
          return el("td", {}, [cell(there, share, said(there), title(there, what))]);
        }),
      ]);
    const table = el("table", { class: "heat turned", "aria-label": `${mode.label} by layer and kind` }, [
      el("thead", {}, [el("tr", {}, [el("td"), ...head])]),
      el("tbody", {}, places.layers.map(row)),
    ]);
    const scroll = el("div", { class: "scroll" }, [table]);
    // Names stand upright where each has room.
    const longest = Math.max(...places.kinds.map((kind) => kind.length));
    atWidth(scroll, (width) => table.classList.toggle("turned", (width - 36) / places.kinds.length < 7 * longest + 4));
    return scroll;
  };
  const rest = (share) => {
    const item = (weight) => {
      const children = [el("span", { class: "name" }, shortened(weight.name, 80)), el("span", {}, mode.text(weight))];
      return el("li", {}, [cell([weight], share, children, title([weight], weight.name))]);
    };
    return [el("h3", {}, places.layers.length ? "Outside of the layers" : "Weights"), el("ul", { class: "rest" }, places.rest.slice(0, 300).map(item)),
      places.rest.length > 300 && el("p", { class: "soft small" }, `and ${count(places.rest.length - 300)} more, in the table`)];
  };
  const draw = () => {
    cells.length = 0;
    const { share, low, high } = shareOf(mode, weights.map(mode.value));
    const legend = el("p", { class: `legend ${mode.ramp}` }, [
      el("span", { class: "end" }, mode.format(low)), el("i", { "aria-hidden": "true" }), el("span", { class: "end" }, mode.format(high)), el("span", {}, mode.unit),
    ]);
    box.className = mode.ramp;
    box.replaceChildren(...[places.layers.length > 0 && grid(share), legend, ...(places.rest.length ? rest(share) : [])].filter(Boolean));
    rove(cells.map((it) => it.button), Math.max(1, places.kinds.length));
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
