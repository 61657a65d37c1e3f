// The page of a comparison.

const isOne = isNumber(data.total?.bytes) || data.total === undefined;
const candidates = isOne ? [null] : Object.keys(data.total).sort((a, b) => (data.total[a]?.bits ?? 0) - (data.total[b]?.bits ?? 0));
/** What the JSON has under a key for a candidate. */
const partOf = (key, candidate) => (candidate === null ? data[key] : data[key]?.[candidate]);

const all = list(data.weights).map((weight) => {
  const values = list(weight?.shape).reduce((product, it) => product * it, 1);
  const bytes = isNumber(weight?.bits) ? Math.round((weight.bits * values) / 8) : null;
  return { ...weight, name: String(weight?.name ?? ""), encoding: named(weight?.encoding), values, bytes };
});
/** The histogram of each weight's values, which are the same in every encoding. */
const valuesOf = new Map(all.filter((it) => it.histograms?.values).reverse().map((it) => [it.name, it.histograms.values]));
const weightsOf = (candidate) => (candidate === null ? all : all.filter((weight) => weight.encoding === candidate));

const nameOf = (candidate) => candidate ?? (data.b ? fileName(data.b) : all[0]?.encoding ?? UNKNOWN);
/** An error; null stands for one that is infinite. */
const relative = (it, digits = 2) => (it?.rel_rms === null ? "infinite" : percent(it?.rel_rms, digits));
const cosine = (it) => (isNumber(it?.cosine) ? it.cosine.toFixed(6) : UNKNOWN);
const decibels = (it) => (isNumber(it?.snr_db) ? `${it.snr_db.toFixed(1)} dB` : it?.max_abs === 0 ? "exact" : UNKNOWN);

function heading() {
  const a = fileName(data.a) || "The reference";
  const encoding = candidates[0] === null ? nameOf(null) : many(candidates.length, "encoding");
  const what = data.b ? `${fileName(data.b)} beside ${a}` : `${a} in ${encoding}`;
  document.title = shortened(what, 120);
  const paths = data.b ? `A, the reference, is ${data.a}; B is ${data.b}.` : data.a ? `The reference is ${data.a}.` : "";
  return el("header", {}, [el("h1", {}, what), paths && el("p", { class: "soft" }, paths)]);
}

function summary(candidate) {
  const [total, kl, perplexity] = ["total", "kl", "perplexity"].map((key) => partOf(key, candidate));
  const [top1, outputs] = ["top1", "outputs"].map((key) => partOf(key, candidate));
  const number = weightsOf(candidate).length;
  return tiles([
    { label: "Bits a value", figure: bits(total?.bits), note: `${many(number, "weight")}, ${bytes(total?.bytes)}` },
    { label: "Error", figure: relative(total), note: `at most ${figure(total?.max_abs)}` },
    { label: "Signal to noise", figure: decibels(total), note: `cosine ${cosine(total)}` },
    kl && { label: "KL divergence, nats", figure: figure(kl.mean), note: `median ${figure(kl.median)}, 99 % up to ${figure(kl.p99)}` },
    isNumber(top1) && { label: "Same best token", figure: percent(top1), note: "of the positions" },
    perplexity && { label: "Perplexity", figure: figure(perplexity.b, 4), note: `${figure(perplexity.a, 4)} in the reference` },
    outputs && { label: "Error of the outputs", figure: relative(outputs), note: `cosine ${cosine(outputs)}` },
  ]);
}

/** Measures of loss that the candidates have: what was measured first. */
function measures() {
  const ofWeights = (it) => partOf("total", it)?.rel_rms;
  const ofOutputs = (it) => partOf("outputs", it)?.rel_rms;
  const ofText = (it) => partOf("kl", it)?.mean;
  const part = (value) => percent(value, 2);
  return [
    { id: "kl", label: "KL divergence", axis: "KL divergence, nats (logarithmic)", of: ofText, text: (value) => `${figure(value)} nats` },
    { id: "outputs", label: "Error of outputs", axis: "error of the outputs (logarithmic)", of: ofOutputs, text: part },
    { id: "weights", label: "Error of weights", axis: "error of the weights (logarithmic)", of: ofWeights, text: part },
  ].filter((measure) => candidates.some((it) => isNumber(measure.of(it))));
}

function encodings(pick) {
  const known = measures();
  // Where they do not take the same weights, their sizes say nothing.
  const alike = new Set(candidates.map((it) => weightsOf(it).length)).size === 1;
  const place = el("div");
  const draw = (measure) => {
    const points = candidates.map((it) => {
      const total = partOf("total", it) ?? {};
      const value = measure.of(it);
      return {
        x: alike ? total.bytes : total.bits, y: value, label: nameOf(it), className: "other", pick: () => pick(it),
        text: `${shortened(nameOf(it), 80)}\n${bytes(total.bytes)}, ${bits(total.bits)} bits\n${measure.text(value)}`,
      };
    });
    place.replaceChildren(chart({
      label: `${measure.label} over size`, height: 320, points,
      x: alike ? { label: "bytes of the weights", format: byteMark } : { label: "bits a value", format: figure },
      y: { label: measure.axis, log: true, format: measure.id === "kl" ? figure : (value, digits) => `${figure(100 * value, digits)} %` },
    }));
  };
  if (known.length > 0) draw(known[0]);
  const tools = known.length > 1 && choice("Loss", known, known[0].id, (id) => draw(known.find((it) => it.id === id)));
  const heads = headings("Encoding", ...known.map((it) => it.label), "Size", "Bits", "Weights");
  const row = (it) => {
    const total = partOf("total", it) ?? {};
    const losses = known.map((measure) => (isNumber(measure.of(it)) ? measure.text(measure.of(it)) : UNKNOWN));
    return { cells: [nameOf(it), ...losses, bytes(total.bytes), bits(total.bits), count(weightsOf(it).length)] };
  };
  const few = "Not every encoding takes every weight: figures are those of the weights that it takes.";
  const note = !alike && el("p", { class: "soft small" }, few);
  return section("Loss over size", tools, [place, smallTable("Encodings", heads, candidates.map(row)), note]);
}

const short = (value) => (isNumber(value) ? figure(100 * value, 2) : "\u221e");
const said = (it) => `${it.encoding}, ${bits(it.bits)} bits, error ${relative(it)}`;

const MODES = [
  { id: "error", label: "Error", ramp: "error", log: true, value: (it) => it.rel_rms, brief: short, say: said,
    format: (value) => percent(value, 2), unit: "root of the mean squared error, as a part of the weight\u2019s; logarithmic" },
  { id: "encoding", label: "Encoding", ramp: "bits", value: (it) => it.bits, text: (it) => it.encoding, say: said,
    format: bits, unit: "bits a value" },
];

function describe(weight) {
  const error = weight.histograms?.error;
  const values = weight.histograms?.values ?? (error && valuesOf.get(weight.name));
  const note = "Counts are on a logarithmic scale. The first and the last bin have all that is beyond them.";
  const counted = [
    el("h3", {}, "Its values"),
    histogram("Histogram of the values", values, ""),
    el("h3", {}, "Their errors"),
    histogram("Histogram of the errors", error, "other"),
    el("p", { class: "soft small" }, note),
  ];
  return [
    facts([
      ["Encoding", `${weight.encoding}, ${bits(weight.bits)} bits a value`],
      ["Shape", shaped(weight.shape)],
      ["Size", bytes(weight.bytes)],
      ["Error", `${relative(weight)}, at most ${figure(weight.max_abs)}`],
      ["Signal to noise", decibels(weight)],
      ["Cosine", cosine(weight)],
    ]),
    ...(values || error ? counted : []),
  ];
}

const worst = (it) => (it.rel_rms === null ? Infinity : it.rel_rms);
const COLUMNS = [
  { key: "name", label: "Weight", value: (it) => it.name, text: (it) => it.name },
  { key: "encoding", label: "Encoding", value: (it) => it.encoding, text: (it) => it.encoding },
  { key: "bits", label: "Bits", number: true, value: (it) => it.bits, text: (it) => bits(it.bits) },
  { key: "bytes", label: "Size", number: true, value: (it) => it.bytes, text: (it) => bytes(it.bytes) },
  { key: "error", label: "Error", number: true, value: worst, text: (it) => relative(it) },
  { key: "largest", label: "Largest error", number: true, value: (it) => it.max_abs, text: (it) => figure(it.max_abs) },
  { key: "snr", label: "Signal to noise", number: true, value: (it) => it.snr_db, text: decibels },
  { key: "cosine", label: "Cosine", number: true, value: (it) => it.cosine, text: (it) => (cosine(it)) },
  { key: "shape", label: "Shape", number: true, value: (it) => it.values, text: (it) => shaped(it.shape) },
];

let chosen;

/** What is shown of one candidate: the weight that was chosen before, or the worst. */
function body(candidate) {
  const weights = weightsOf(candidate);
  if (weights.length === 0) return [section("Weights", null, [el("p", { class: "soft" }, "No weights were compared.")])];
  const meanError = (there) => percent(meanOf(there, (it) => it.rel_rms), 2);
  const isMixed = new Set(weights.map((it) => it.encoding)).size > 1;
  return explorer(weights, {
    modes: MODES,
    columns: COLUMNS,
    sort: { key: "error", descending: true },
    first: weights.find((it) => it.name === chosen) ?? weights.reduce((most, it) => (worst(it) > worst(most) ? it : most)),
    describe,
    chose: (weight) => (chosen = weight.name),
    between: isMixed && shares(weights, { label: "Mean error", of: meanError }),
  });
}

function outputs(candidate) {
  const byName = Object.entries(partOf("outputs", candidate)?.by_name ?? {});
  if (byName.length < 2) return null;
  const heads = headings("Output", "Error", "Cosine");
  const row = ([name, it]) => ({ cells: [name, relative(it), cosine(it)] });
  return section("Outputs", null, [smallTable("Outputs", heads, byName.map(row))]);
}

function terms() {
  return section("What the figures mean", null, [
    facts([
      ["Error", "the root of the mean squared error, as a part of the root mean square in the reference"],
      ["Signal to noise", "the ratio of the reference\u2019s squares to the error\u2019s, in decibels"],
      ["Cosine", "that of the angle between the values and those of the reference"],
      ["Bits", "those of a value, with scales and all else that an encoding stores"],
    ]),
  ]);
}

const shown = el("div");
const show = (candidate) => {
  shown.replaceChildren(...[summary(candidate), ...body(candidate), outputs(candidate)].filter(Boolean));
  const radios = [...document.querySelectorAll(".candidates input")];
  radios.forEach((radio, index) => (radio.checked = candidates[index] === candidate));
};
const several = candidates.length > 1;
const options = candidates.map((id) => ({ id, label: nameOf(id) }));
document.getElementById("page").append(...[
  heading(),
  several && encodings((it) => show(it)),
  several && el("div", { class: "candidates" }, [el("h2", {}, "One encoding"), choice("Encoding", options, candidates[0], show)]),
  shown,
  terms(),
].filter(Boolean));
show(candidates[0]);
