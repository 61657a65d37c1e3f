// The page of a plan.

const weights = list(data.weights).map((weight) => ({ ...weight, name: String(weight?.name ?? ""), encoding: named(weight?.encoding) }));
const total = data.total ?? {};
const measure = data.measure ?? {};
const isKl = measure.kind === "kl";
const LOSS = isKl ? "KL divergence" : measure.kind === "outputs" ? "Error of the outputs" : "Loss";
const lossUnit = isKl ? " nats" : "";
const shortPercent = (value) => (isNumber(value) ? short(100 * value) : UNKNOWN);
const loss = (value) => (isNumber(value) ? figure(value) + lossUnit : UNKNOWN);
const rms = (weight) => (isNumber(weight.rel_error) ? Math.sqrt(weight.rel_error) : null);
const short = (value) => (isNumber(value) && value > 0 && value < 0.01 ? value.toExponential(0) : figure(value, 2));
const allLoss = sumOf(weights, "loss");

function heading() {
  const file = fileName(data.file) || "a model";
  document.title = `A plan for ${shortened(file, 80)}`;
  const what = {
    kl: "The loss is the Kullback-Leibler divergence of the next token\u2019s distribution from that of the file",
    outputs: "The loss is the relative error of the outputs",
  }[measure.kind];
  const parts = [what, measure.source && ` on ${measure.source}`, isNumber(measure.tokens) && `, ${many(measure.tokens, "token")}`];
  return el("header", {}, [
    el("h1", {}, `A plan for ${file}`),
    what && el("p", { class: "soft" }, `${parts.filter(Boolean).join("")}.`),
  ]);
}

function summary() {
  const target = data.target ?? {};
  const aim = isNumber(target.bytes)
    ? `of at most ${bytes(target.bytes)}${total.bytes <= target.bytes ? `, ${percent(total.bytes / target.bytes, 2)} used` : ""}`
    : isNumber(target.bits) ? `for at most ${bits(target.bits)} bits a value` : undefined;
  const ratio = isNumber(total.loss) && total.loss > 0 && isNumber(total.predicted_loss) ? total.predicted_loss / total.loss : null;
  const covered = `${many(weights.length, "weight")}, ${count(total.values ?? sumOf(weights, "values"))} values`;
  const against = ratio === null ? undefined : `${ratio.toFixed(2)} times the measured`;
  return tiles([
    { label: "Size", figure: bytes(total.bytes), note: aim },
    { label: "Bits a value", figure: bits(total.bits), note: covered },
    { label: `${LOSS}, measured`, figure: loss(total.loss), note: isNumber(total.loss) ? "of the whole plan" : "not measured" },
    { label: `${LOSS}, predicted`, figure: loss(total.predicted_loss), note: against },
  ]);
}

const isPlan = (candidate) => candidate.name === "plan";

/** The plan, and the other candidates. */
function candidates() {
  const given = list(data.candidates).map((it) => ({ ...it, name: String(it?.name ?? "") }));
  const isChosen = (it) => isPlan(it) || (isNumber(it.loss) && it.loss === total.loss && it.bytes === total.bytes);
  const chosen = given.find(isChosen);
  const title = chosen && !isPlan(chosen) ? `plan: ${chosen.name}` : "plan";
  const itself = { ...chosen, ...total, name: "plan", title };
  const assumed = isNumber(itself.loss) ? {} : { loss: total.predicted_loss, predicted: true };
  return [{ ...itself, ...assumed }, ...given.filter((it) => it !== chosen)];
}

const measured = () => candidates().filter((it) => isNumber(it.loss) && !it.predicted);

/** The line is drawn from the plan's size divided by this to its size times this: a longer one would leave no room for what is near. */
const NEAR = 2;

function frontier() {
  const all = list(data.frontier).filter((it) => isNumber(it.bytes) && isNumber(it.predicted_loss)).sort((a, b) => a.bytes - b.bytes);
  const near = all.filter((it) => it.bytes * NEAR >= total.bytes && it.bytes <= NEAR * total.bytes);
  const known = near.length > 1 ? near : all;
  const every = Math.ceil(known.length / 150);
  const points = known.filter((_, index) => index % every === 0).map((it) => ({
    x: it.bytes,
    y: it.predicted_loss,
    className: "small",
    text: `${bytes(it.bytes)}, ${bits(it.bits)} bits\npredicted: ${loss(it.predicted_loss)}`,
  }));
  for (const it of candidates().filter((it) => it.bytes > 0)) {
    points.push({
      x: it.bytes, y: it.loss, label: it.name, className: isPlan(it) ? "main" : "other",
      text: `${shortened(it.name, 80)}\n${bytes(it.bytes)}, ${bits(it.bits)} bits\n${it.predicted ? "predicted: " : ""}${loss(it.loss)}`,
    });
  }
  const target = data.target?.bytes;
  const drawing = chart({
    label: "Loss over size", height: 380, points,
    x: { label: "bytes of the weights", format: byteMark },
    y: { label: `${LOSS}${isKl ? ", nats" : ""} (logarithmic)`, log: true, format: figure },
    line: known.map((it) => [it.bytes, it.predicted_loss]),
    rule: isNumber(target) ? { x: target, label: `target, ${bytes(target)}` } : undefined,
  });
  const notes = [
    known.length > 0 && `The line is what plans of other sizes${known === near ? ", from half to twice this one," : ""} are predicted to lose.`,
    measured().length > 0 && "The circles were measured.",
  ];
  return section("Loss over size", null, [drawing, el("p", { class: "soft small" }, notes.filter(Boolean).join(" ")), compared()]);
}

function compared() {
  const all = candidates();
  const base = all.find(isPlan)?.loss;
  const heads = headings("Candidate", "Loss", "Ratio", "Size", "Bits");
  const ratio = (it) => (isNumber(it.loss) && base > 0 ? `${figure(it.loss / base)} \u00d7` : UNKNOWN);
  const row = (it) => ({
    cells: [it.title ?? it.name, figure(it.loss), ratio(it), bytes(it.bytes), bits(it.bits)],
    selected: isPlan(it),
  });
  return smallTable("Candidates that were measured", heads, all.map(row));
}

const said = (weight) =>
  `${weight.encoding}, ${bits(weight.bits)} bits, error ${percent(rms(weight))}, sensitivity ${figure(weight.sensitivity)}`;

const MODES = [
  { id: "encoding", label: "Encoding", ramp: "bits", value: (it) => it.bits, text: (it) => it.encoding, say: said,
    format: bits, unit: "bits a value" },
  { id: "error", label: "Error", ramp: "error", log: true, value: rms, brief: shortPercent, say: said,
    format: (value) => percent(value, 2), unit: "root of the mean squared error, as a part of the weight\u2019s; logarithmic" },
  { id: "sensitivity", label: "Sensitivity", ramp: "sense", log: true, value: (it) => it.sensitivity, brief: short, say: said,
    format: (value) => figure(value, 2), unit: "loss for a relative squared error of 1; logarithmic" },
  { id: "loss", label: "Loss", ramp: "error", log: true, value: (it) => it.loss, brief: short, say: said,
    format: (value) => figure(value, 2), unit: "predicted loss of each weight; logarithmic" },
];

function alternatives(weight) {
  const given = list(weight.alternatives).map((it) => ({ ...it, encoding: named(it?.encoding) }));
  const others = given.filter((it) => it.encoding !== weight.encoding);
  if (others.length === 0) return [el("p", { class: "soft small" }, "No alternatives were measured.")];
  const all = [...others, weight].sort((a, b) => (a.bytes ?? 0) - (b.bytes ?? 0));
  const text = (it) => `${shortened(it.encoding, 60)}\n${bytes(it.bytes)}, ${bits(it.bits)} bits\nloss ${figure(it.loss)}`;
  const point = (it) => ({ x: it.bytes, y: it.loss, label: it.encoding, className: it === weight ? "main" : "", text: text(it) });
  const heads = headings("Encoding", "Loss", "Error", "Size", "Bits");
  const row = (it) => ({
    cells: [it.encoding, figure(it.loss), percent(rms(it), 2), bytes(it.bytes), bits(it.bits)],
    selected: it === weight,
  });
  return [
    el("h3", {}, "Its alternatives: predicted loss over size"),
    chart({
      label: "Loss of the alternatives over their size", height: 240, points: all.map(point),
      x: { label: "bytes of this weight", format: byteMark },
      y: { label: "loss (logarithmic)", log: true, format: figure },
    }),
    smallTable("Alternatives", heads, all.map(row)),
  ];
}

function describe(weight) {
  const part = allLoss > 0 && isNumber(weight.loss) ? `, ${percent(weight.loss / allLoss)} of all` : "";
  return [
    weight.reason && el("p", { class: "reason" }, String(weight.reason)),
    facts([
      ["Encoding", `${weight.encoding}, ${bits(weight.bits)} bits a value`],
      ["Shape", shaped(weight.shape)],
      ["Size", bytes(weight.bytes)],
      ["Error", `${percent(rms(weight), 2)} (squared: ${figure(weight.rel_error)})`],
      ["Sensitivity", figure(weight.sensitivity)],
      ["Loss", `${figure(weight.loss)}${part}`],
    ]),
    ...alternatives(weight),
  ];
}

const COLUMNS = [
  { key: "name", label: "Weight", value: (it) => it.name, text: (it) => it.name },
  { key: "encoding", label: "Encoding", value: (it) => it.encoding, text: (it) => it.encoding },
  { key: "bits", label: "Bits", number: true, value: (it) => it.bits, text: (it) => bits(it.bits) },
  { key: "bytes", label: "Size", number: true, value: (it) => it.bytes, text: (it) => bytes(it.bytes) },
  { key: "error", label: "Error", number: true, value: rms, text: (it) => percent(rms(it), 2) },
  { key: "sensitivity", label: "Sensitivity", number: true, value: (it) => it.sensitivity, text: (it) => figure(it.sensitivity) },
  { key: "loss", label: "Loss", number: true, value: (it) => it.loss, text: (it) => figure(it.loss) },
  { key: "shape", label: "Shape", number: true, value: (it) => it.values, text: (it) => shaped(it.shape) },
  { key: "reason", label: "Why", long: true, value: (it) => it.reason, text: (it) => String(it.reason ?? "") },
];

function body() {
  if (weights.length === 0) return [section("Weights", null, [el("p", { class: "soft" }, "The plan covers no weights.")])];
  return explorer(weights, {
    modes: MODES,
    columns: COLUMNS,
    sort: { key: "loss", descending: true },
    first: weights.reduce((most, it) => ((it.loss ?? 0) > (most.loss ?? 0) ? it : most)),
    describe,
    between: shares(weights, { label: "Loss", of: (there) => figure(sumOf(there, "loss")) }),
  });
}

function terms() {
  return section("What the figures mean", null, [
    facts([
      ["Error", "the root of the mean squared error of a weight\u2019s values, as a part of their root mean square"],
      ["Sensitivity", "what the model loses for each unit of relative squared error in this weight alone, as it was measured"],
      ["Loss", "of a weight: its sensitivity times its relative squared error; the plan\u2019s prediction is the sum over the weights"],
      ["Sizes", "are those of the weights that the plan covers, not of the file; MB is 10\u2076 bytes"],
    ]),
  ]);
}

document.getElementById("page").append(heading(), summary(), frontier(), ...body(), terms());
