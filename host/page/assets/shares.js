// What encodings take.

/** The sum of a figure over weights that have it. */
const sumOf = (weights, key) => weights.reduce((sum, weight) => sum + (isNumber(weight[key]) ? weight[key] : 0), 0);

/** The bytes of weights by encoding, the most first, and one figure more of each encoding's weights. */
function shares(weights, { label, of }) {
  const byEncoding = new Map();
  for (const weight of weights) {
    if (!byEncoding.has(weight.encoding)) byEncoding.set(weight.encoding, []);
    byEncoding.get(weight.encoding).push(weight);
  }
  const shared = [...byEncoding].map(([name, there]) => ({ name, there, bytes: sumOf(there, "bytes"), values: sumOf(there, "values") }));
  shared.sort((a, b) => b.bytes - a.bytes || natural(a.name, b.name));
  const all = Math.max(1, sumOf(weights, "bytes"));
  const largest = Math.max(1, ...shared.map((it) => it.bytes));
  const row = ({ name, there, bytes: size, values }) => {
    const each = values > 0 ? bits((8 * size) / values) : UNKNOWN;
    return { cells: [name, bytes(size), { bar: size / largest }, percent(size / all), each, count(there.length), of(there)] };
  };
  const heads = headings("Encoding", "Size", "", "Part", "Bits", "Weights", label);
  return section("Where the bytes go", null, [smallTable("Bytes by encoding", heads, shared.slice(0, 40).map(row))]);
}
