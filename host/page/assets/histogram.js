// Histograms, with counts on a logarithmic scale.

/** The range of values in a bin, as a text. */
function binText(index, { width, counts }) {
  const middle = (counts.length - 1) / 2;
  const [low, high] = [(index - middle - 0.5) * width, (index - middle + 0.5) * width];
  if (index === 0) return `below ${figure(high)}`;
  if (index === counts.length - 1) return `${figure(low)} and above`;
  return `${figure(low)} to ${figure(high)}`;
}

/** A histogram as `compare` writes it: bins of one width, the middle one around 0, the outermost open. */
function histogram(label, given, className) {
  const counts = list(given?.counts);
  const total = counts.reduce((sum, it) => sum + it, 0);
  if (!isNumber(given?.width) || total === 0) return el("p", { class: "soft" }, "There are no values to count.");
  const figure_ = el("figure", { class: "chart" });
  const place = el("div");
  figure_.append(place);
  const tip = tipIn(figure_);
  const height = 168;
  const middle = (counts.length - 1) / 2;
  const say = (index) => `${binText(index, given)}\n${many(counts[index], "value")}, ${percent(counts[index] / total, 2)}`;
  atWidth(place, (width) => {
    const area = { left: 58, right: width - 8, top: 10, bottom: height - 24 };
    const up = scaleOf([0.5, Math.max(...counts, 10)], { log: true, from: area.bottom, to: area.top, about: 4, room: 0.03 });
    const wide = (area.right - area.left) / counts.length;
    const bars = counts.map((value, index) => {
      const top = value > 0 ? up.place(value) : area.bottom;
      const open = index === 0 || index === counts.length - 1 ? " open" : "";
      return shape("rect", {
        class: `bar ${className}${open}`, x: area.left + index * wide, y: top, width: Math.max(0.5, wide - 1), height: area.bottom - top,
      });
    });
    const reach = (middle + 0.5) * given.width;
    const across = scaleOf([-reach, reach], { from: area.left, to: area.right, about: Math.max(2, Math.floor(width / 76)), room: 0 });
    const cover = shape("rect", {
      x: area.left, y: area.top, width: area.right - area.left, height: area.bottom - area.top, fill: "transparent",
      tabindex: "0", role: "slider", "aria-label": label, "aria-valuemin": 1, "aria-valuemax": counts.length,
      "aria-valuenow": middle + 1, "aria-valuetext": say(middle),
    });
    const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": label }, [
      axes(area, across, up, { x: { label: "", format: figure }, y: { label: "", format: countMark } }),
      ...bars,
      cover,
    ]);
    place.replaceChildren(drawing);
    tip.hide();
    let at = middle;
    const show = (index) => {
      bars[at].classList.remove("at");
      if (index < 0) return tip.hide();
      at = Math.max(0, Math.min(counts.length - 1, index));
      bars[at].classList.add("at");
      cover.setAttribute("aria-valuenow", at + 1);
      cover.setAttribute("aria-valuetext", say(at));
      tip.show(say(at), area.left + (at + 0.5) * wide, Number(bars[at].getAttribute("y")));
    };
    const under = (event) => {
      const box = cover.getBoundingClientRect();
      return Math.floor(((event.clientX - box.left) / box.width) * counts.length);
    };
    cover.addEventListener("pointermove", (event) => show(under(event)));
    cover.addEventListener("pointerdown", (event) => show(under(event)));
    cover.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
    cover.addEventListener("focus", () => show(at));
    cover.addEventListener("blur", () => show(-1));
    cover.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: counts.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(Math.max(0, to));
    });
  });
  return figure_;
}
