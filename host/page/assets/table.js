// Tables that are sorted and filtered.

const MOST_ROWS = 500;

/**
 * A table of weights. Columns are `{key, label, value, text, number, long}`, the first of which names the row. `pick` is told a row that
 * was chosen. Answers the section's parts, and a function that marks a row.
 */
function weightTable(rows, columns, first, pick) {
  let { key, descending } = first;
  let query = "";
  let shown = MOST_ROWS;
  let picked = null;
  const texts = new Map(rows.map((row) => [row, columns.map((column) => column.text(row)).join("\n").toLowerCase()]));
  const status = el("span", { class: "soft small", role: "status" });
  const body = el("tbody");
  const more = el("p", { class: "screen", hidden: true });

  const order = (a, b) => {
    const of = columns.find((column) => column.key === key).value;
    const [left, right] = [of(a), of(b)];
    const known = (value) => value !== null && value !== undefined;
    if (!known(left) || !known(right)) return known(right) - known(left);
    const way = typeof left === "string" ? natural(left, right) : left - right;
    return (descending ? -way : way) || natural(a.name, b.name);
  };
  const rowOf = (row) => {
    const cells = columns.map((column, index) => {
      if (index > 0) {
        const className = [column.number && "number", column.long && "long"].filter(Boolean).join(" ");
        const text = column.text(row);
        return el("td", { class: className || null, title: column.long ? shortened(text, 1000) : null }, shortened(text, 300));
      }
      return el("th", { scope: "row" }, [
        el("button", { type: "button", title: row.name, onclick: () => pick(row) }, shortened(row.name || NAMELESS, 120)),
      ]);
    });
    const line = el("tr", { "aria-current": String(row === picked) }, cells);
    line.addEventListener("click", (event) => event.target.closest("button") || pick(row));
    return line;
  };
  let lines = new Map();
  const draw = () => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => words.every((word) => texts.get(row).includes(word))).sort(order);
    lines = new Map(found.slice(0, shown).map((row) => [row, rowOf(row)]));
    body.replaceChildren(...lines.values());
    status.textContent = `${found.length === rows.length ? "" : `${count(found.length)} of `}${many(rows.length, "weight")}`;
    more.hidden = found.length <= shown;
    more.replaceChildren(el("button", {
      type: "button", class: "plain", onclick: () => {
        shown = Infinity;
        draw();
      },
    }, `Show all ${count(found.length)}`));
    heads.forEach((head, index) => {
      const column = columns[index];
      head.setAttribute("aria-sort", column.key !== key ? "none" : descending ? "descending" : "ascending");
    });
  };
  const heads = columns.map((column) =>
    el("th", { scope: "col", class: column.number ? "number" : null }, [
      el("button", {
        type: "button", onclick: () => {
          descending = key === column.key ? !descending : Boolean(column.number);
          key = column.key;
          draw();
        },
      }, column.label),
    ]));
  const input = el("input", {
    type: "search",
    placeholder: "Filter: names, encodings",
    "aria-label": "Filter the table",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      query = input.value;
      draw();
    },
  });
  draw();
  const table = el("table", { class: "list", "aria-label": "All weights" }, [el("thead", {}, [el("tr", {}, heads)]), body]);
  const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of all weights" }, [table]);
  const mark = (row) => {
    lines.get(picked)?.setAttribute("aria-current", "false");
    lines.get((picked = row))?.setAttribute("aria-current", "true");
  };
  return { tools: el("div", { class: "filter" }, [input, status]), parts: [scroll, more], mark };
}

const collator = new Intl.Collator("en", { numeric: true });
const natural = (a, b) => collator.compare(a, b);

/** A small table without sorting: labels, and rows of texts; `bar` is a part from 0 to 1 that is drawn. */
function smallTable(label, heads, rows) {
  const titled = ({ label, number }) => el("th", { scope: "col", class: number ? "flat number" : "flat" }, label);
  const head = heads.map((it) => (it.label === "" ? el("td") : titled(it)));
  const cell = (value, index) =>
    value && typeof value === "object"
      ? el("td", { class: "bar" }, [bar(value.bar)])
      : el("td", { class: heads[index].number ? "number" : null }, shortened(value, 120));
  const line = ({ cells, selected }) => el("tr", { "aria-current": selected ? "true" : null }, cells.map(cell));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, [
    el("table", { class: "list", "aria-label": label }, [el("thead", {}, [el("tr", {}, head)]), el("tbody", {}, rows.map(line))]),
  ]);
}

function bar(part) {
  const drawn = el("i", { "aria-hidden": "true" });
  drawn.style.width = `${(100 * Math.min(1, Math.max(0, part || 0))).toFixed(1)}%`;
  return drawn;
}
