// Scales from values to pixels, and where their marks are.

const extent = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

/** Round numbers from `low` to `high`, about so many. */
function roundNumbers(low, high, about) {
  const wanted = (high - low) / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const far = (step) => Math.abs(Math.log((step * power) / wanted));
  const step = power * [1, 2, 5, 10].reduce((best, it) => (far(it) < far(best) ? it : best));
  const first = Math.ceil(low / step - 1e-9);
  const marks = [];
  for (let i = first; i * step <= high * (1 + 1e-12) + 1e-12 * step && marks.length < 50; i++) {
    marks.push(Number((i * step).toPrecision(12)));
  }
  return marks;
}

/** Powers of ten, with what is between them where there are few. */
function powers(low, high, about) {
  const marks = (factors) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of factors) {
        const value = Number(`${factor}e${power}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  };
  for (const factors of [[1], [1, 3], [1, 2, 5]]) {
    const found = marks(factors);
    if (found.length >= Math.min(3, about)) {
      const every = Math.ceil(found.length / (about + 2));
      return found.filter((_, index) => index % every === 0);
    }
  }
  return roundNumbers(low, high, about);
}

/** A scale that shows all of some values between two pixels. On a logarithmic one, what is not positive is at its lower end. */
function scaleOf(values, { log, from, to, about, room = 0.06 }) {
  let shown = values.filter((value) => isNumber(value) && (!log || value > 0));
  if (shown.length === 0) shown = log ? [0.1, 1] : [0, 1];
  const of = log ? Math.log : (value) => value;
  let [low, high] = extent(shown).map(of);
  if (log && values.some((value) => isNumber(value) && value <= 0)) low -= 0.5;
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-300)) {
    const half = log ? 0.5 : Math.max(Math.abs(low) * 0.05, 1e-12);
    [low, high] = [low - half, high + half];
  }
  [low, high] = [low - room * (high - low), high + room * (high - low)];
  const place = (value) => from + ((to - from) * (of(value) - low)) / (high - low);
  const ends = log ? [Math.exp(low), Math.exp(high)] : [low, high];
  return {
    place: (value) => (log && value <= 0 ? from : place(value)),
    marks: (log ? powers : roundNumbers)(...ends, about),
  };
}
