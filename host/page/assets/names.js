// Layers and kinds of weights, which their names say.

/** The layer in a name such as `blk.3.attn_q.weight` or `model.layers.3.mlp.up_proj.weight`, and what is left of it; null without one. */
function placeOf(name) {
  const parts = String(name).split(".");
  const at = parts.findIndex((part) => /^\d{1,5}$/.test(part));
  if (at < 0 || at === parts.length - 1) return null;
  const rest = parts.slice(at + 1).map((part) => (/^\d+$/.test(part) ? "*" : part));
  if (rest.length > 1 && rest[rest.length - 1] === "weight") rest.pop();
  return { stack: parts.slice(0, at).join("."), layer: Number(parts[at]), kind: rest.join(".") };
}

const ORDER = [/embd|embed/, /(^|[._])q(_proj|$)|query/, /(^|[._])k(_proj|$)|key/, /(^|[._])v(_proj|$)|value/,
  /qkv/, /attn.*out|attention.*out|o_proj/, /gate/, /up|intermediate|fc1|c_fc/, /down|fc2|c_proj|output/, /norm/];

function rank(kind) {
  const found = ORDER.findIndex((pattern) => pattern.test(kind));
  return (found < 0 ? ORDER.length : found) + (/norm/i.test(kind) ? 20 : 0) + (/bias$/.test(kind) ? 40 : 0);
}

/** Weights by layer and kind, and those whose names have no layer. Several can be at one place: the experts of a layer. */
function byPlace(weights) {
  const placed = weights.map((weight) => ({ weight, place: placeOf(weight.name) }));
  const stacks = new Set(placed.filter((it) => it.place).map((it) => it.place.stack));
  const cells = new Map();
  const kinds = new Set();
  const layers = new Set();
  for (const { weight, place } of placed) {
    if (!place) continue;
    const kind = stacks.size > 1 ? `${place.stack}.*.${place.kind}` : place.kind;
    const key = `${place.layer}\n${kind}`;
    kinds.add(kind);
    layers.add(place.layer);
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(weight);
  }
  const byRank = (a, b) => rank(a) - rank(b) || (a < b ? -1 : 1);
  return {
    layers: [...layers].sort((a, b) => a - b),
    kinds: [...kinds].sort(byRank),
    at: (layer, kind) => cells.get(`${layer}\n${kind}`) ?? [],
    rest: placed.filter((it) => !it.place).map((it) => it.weight),
  };
}
