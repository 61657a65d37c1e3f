// Charts of points and lines, which are drawn anew as their width changes.

/** Calls `draw` with the width that a place has, whenever that is another. */
function atWidth(place, draw) {
  let drawn = 0;
  const redraw = () => {
    const width = Math.round(place.clientWidth);
    if (width > 0 && width !== drawn) draw((drawn = width));
  };
  new ResizeObserver(redraw).observe(place);
}

/** A box with a text, which is shown at a place of a chart. */
function tipIn(figure) {
  const tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
  figure.append(tip);
  return {
    show(text, x, y) {
      tip.textContent = text;
      tip.hidden = false;
      const left = Math.min(Math.max(0, x - tip.offsetWidth / 2), Math.max(0, figure.clientWidth - tip.offsetWidth));
      const above = y - tip.offsetHeight - 12;
      tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above >= 0 ? above : y + 14)}px)`;
    },
    hide() {
      tip.hidden = true;
    },
  };
}

/** Texts of marks, with as many digits as all of them need. */
function texts(marks, format) {
  const digits = [1, 2, 3, 4].find((digits) => marks.every((mark) => Number(mark.toPrecision(digits)) === mark)) ?? 5;
  return marks.map((mark) => format(mark, digits));
}

/** Axes with marks, lines and titles. */
function axes(area, x, y, options) {
  const parts = [];
  const [across, up] = [texts(x.marks, options.x.format), texts(y.marks, options.y.format)];
  for (const [index, mark] of y.marks.entries()) {
    const at = y.place(mark);
    parts.push(shape("line", { class: "grid", x1: area.left, x2: area.right, y1: at, y2: at }));
    parts.push(shape("text", { x: area.left - 7, y: at + 4, "text-anchor": "end" }, up[index]));
  }
  for (const [index, mark] of x.marks.entries()) {
    const at = x.place(mark);
    parts.push(shape("line", { class: "axis", x1: at, x2: at, y1: area.bottom, y2: area.bottom + 4 }));
    parts.push(shape("text", { x: at, y: area.bottom + 18, "text-anchor": "middle" }, across[index]));
  }
  parts.push(shape("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }));
  parts.push(shape("text", { x: 0, y: 12 }, options.y.label));
  parts.push(shape("text", { x: area.right, y: area.bottom + 36, "text-anchor": "end" }, options.x.label));
  return shape("g", { "aria-hidden": "true" }, parts);
}

/** Names beside points, where there is room for them. */
function labels(points, area) {
  const around = ({ px, py }) => ({ left: px - 6, right: px + 6, top: py - 6, bottom: py + 6 });
  const small = points.filter((it) => it.className === "small").map(around);
  const taken = points.filter((it) => it.className !== "small").map(around);
  const isFree = (box, taken) =>
    box.left >= area.left - 4 && box.right <= area.right + 12 && box.top >= area.top - 8 && box.bottom <= area.bottom &&
    taken.every((it) => box.right < it.left || box.left > it.right || box.bottom < it.top || box.top > it.bottom);
  const near = [[10, 4, "start"], [10, -9, "start"], [-10, 4, "end"], [10, 18, "start"], [-10, -9, "end"], [-10, 18, "end"],
    [0, -11, "middle"], [0, 22, "middle"]];
  const further = [[10, -24, "start"], [-10, -24, "end"], [10, 32, "start"], [-10, 32, "end"]];
  const put = ({ px, py, label, className }) => {
    const text = shortened(label, 26);
    const wide = text.length * 6.7;
    const boxed = ([dx, dy, anchor]) => {
      const left = px + dx - { start: 0, end: wide, middle: wide / 2 }[anchor];
      return { dx, dy, anchor, left, right: left + wide, top: py + dy - 11, bottom: py + dy + 3 };
    };
    const first = (places, taken) => places.map(boxed).find((box) => isFree(box, taken));
    const found = first(near, [...taken, ...small]) ?? first([...near, ...further], taken);
    if (!found) return null;
    taken.push(found);
    return shape("text", { class: `label ${className ?? ""}`, x: px + found.dx, y: py + found.dy, "text-anchor": found.anchor }, text);
  };
  const named = points.filter((point) => point.label);
  named.sort((a, b) => (b.className === "main") - (a.className === "main"));
  return shape("g", { "aria-hidden": "true" }, named.map(put));
}

/**
 * A chart. `points` have `x`, `y`, a `text` for who points at them or comes to them by keys, and may have a `label`, a `className` and
 * `pick`. `line` goes through pairs of x and y; `rule` is a vertical line at an x, with a label.
 */
function chart({ label, height, x, y, points, line = [], rule }) {
  const known = points.filter((point) => isNumber(point.x) && isNumber(point.y));
  if (known.length === 0) return el("p", { class: "soft" }, "There are no figures to draw.");
  const figure = el("figure", { class: "chart" });
  const place = el("div");
  figure.append(place);
  const tip = tipIn(figure);
  atWidth(place, (width) => {
    const area = { left: 58, right: width - 14, top: 26, bottom: height - 46 };
    const about = Math.max(2, Math.floor((area.right - area.left) / 76));
    const xs = [...known.map((it) => it.x), ...line.map((it) => it[0]), ...(rule ? [rule.x] : [])];
    const ys = [...known.map((it) => it.y), ...line.map((it) => it[1])];
    const across = scaleOf(xs, { ...x, from: area.left, to: area.right, about });
    const up = scaleOf(ys, { ...y, from: area.bottom, to: area.top, about: Math.floor(height / 60) });
    const placed = known.map((point) => ({ ...point, px: across.place(point.x), py: up.place(point.y) }));
    placed.sort((a, b) => a.px - b.px);
    const marks = placed.map((point) =>
      shape("g", { class: `point ${point.className ?? ""}`, role: point.pick ? "button" : "img", "aria-label": point.text }, [
        shape("circle", { cx: point.px, cy: point.py, r: { small: 2.5, main: 6.5 }[point.className] ?? 5 }),
      ]));
    const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": label }, [
      axes(area, across, up, { x, y }),
      rule && ruled(rule, across.place(rule.x), area),
      line.length > 1 && shape("polyline", { class: "line", points: line.map(([a, b]) => `${across.place(a)},${up.place(b)}`).join(" ") }),
      ...front(placed, marks),
      labels(placed, area),
    ]);
    place.replaceChildren(drawing);
    tip.hide();
    pointing(drawing, placed, marks, tip, width);
  });
  return figure;
}

/** The marks of points, those that matter most drawn last. */
function front(points, marks) {
  const weight = (point) => ({ small: 0, main: 2 }[point.className] ?? 1);
  return marks.map((mark, index) => [weight(points[index]), mark]).sort((a, b) => a[0] - b[0]).map((it) => it[1]);
}

function ruled({ label }, at, area) {
  const flips = at > (area.left + area.right) / 2;
  return shape("g", { "aria-hidden": "true" }, [
    shape("line", { class: "rule", x1: at, x2: at, y1: area.top - 4, y2: area.bottom }),
    shape("text", { x: flips ? at - 6 : at + 6, y: area.top + 6, "text-anchor": flips ? "end" : "start" }, label),
  ]);
}

/** What a pointer or the focus is at is said. */
function pointing(drawing, points, marks, tip, width) {
  let at = -1;
  const show = (index) => {
    if (at >= 0) marks[at].classList.remove("at");
    at = index;
    if (index < 0) return tip.hide();
    marks[index].classList.add("at");
    tip.show(points[index].text, points[index].px, points[index].py);
  };
  const nearest = (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const far = points.map(({ px, py, className }) => Math.hypot(px - x, py - y) + (className === "small" ? 6 : 0));
    const index = far.indexOf(Math.min(...far));
    return far[index] < 48 ? index : -1;
  };
  drawing.addEventListener("pointermove", (event) => show(nearest(event)));
  drawing.addEventListener("pointerdown", (event) => show(nearest(event)));
  drawing.addEventListener("click", (event) => {
    const index = nearest(event);
    if (index >= 0) points[index].pick?.();
  });
  drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
  marks.forEach((mark, index) => {
    mark.addEventListener("focus", () => show(index));
    mark.addEventListener("blur", () => show(-1));
    mark.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        points[index].pick?.();
      }
    });
  });
  rove(marks);
}
