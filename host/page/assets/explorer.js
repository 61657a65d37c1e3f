// A heat map, a table, and the details of the weight that was chosen in one of them.

/** Buttons for the weights that share a cell. */
function siblings(weight, together, pick) {
  const button = (it) => {
    const attributes = { type: "button", class: "plain", "aria-pressed": String(it === weight), onclick: () => pick(it, together) };
    return el("button", attributes, shortened(it.name || NAMELESS, 60));
  };
  const label = "Weights of this cell";
  return el("div", { class: "others", role: "group", "aria-label": label }, together.slice(0, 300).map(button));
}

/**
 * The sections for some weights. `modes` are the heat map's, `columns` and `sort` the table's; `first` is the weight that is chosen at
 * first, `describe` gives what is shown of one, `chose` is told it, and `between` is before the table.
 */
function explorer(weights, { modes, columns, sort, first, describe, chose, between }) {
  const panel = el("section", { class: "details", "aria-label": "The weight that was chosen" });
  const show = (weight, together) => {
    const name = el("h2", { class: "name" }, weight.name || NAMELESS);
    const others = together.length > 1 && siblings(weight, together, pick);
    panel.replaceChildren(...[name, others, ...describe(weight)].filter(Boolean));
    panel.scrollTop = 0;
    map.mark(weight);
    table.mark(weight);
    chose?.(weight);
  };
  const pick = (weight, together) => {
    show(weight, together);
    panel.scrollIntoView({ block: "nearest" });
  };
  const map = heatmap(weights, modes, (there) => pick(there[0], there));
  const table = weightTable(weights, columns, sort, (row) => pick(row, map.at(row)));
  show(first, map.at(first));
  return [
    el("div", { class: "columns" }, [section("By layer and kind", map.tools, [map.box]), panel]),
    between,
    section("All weights", table.tools, table.parts, { class: "rows" }),
  ].filter(Boolean);
}
