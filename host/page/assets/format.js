// Figures as people read them. What is not known is a dash.

const UNKNOWN = "\u2013";
const NAMELESS = "(no name)";

/** So many significant digits; very small and very large numbers with a power of ten. */
function figure(value, digits = 3) {
  if (!isNumber(value)) return UNKNOWN;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa === "1" ? "" : `${mantissa}\u00b7`}10${raised(Number(exponent))}`;
  }
  const whole = Math.floor(Math.log10(size)) + 1;
  return value.toFixed(Math.max(0, Math.min(6, digits - whole)));
}

function raised(exponent) {
  const digits = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";
  const raise = (character) => (character === "-" ? "\u207b" : digits[Number(character)]);
  return [...String(exponent)].map(raise).join("");
}

/** Bytes; MB is 10^6 of them. */
function bytes(value, digits = 4) {
  if (!isNumber(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : figure(value, digits)} ${units[unit]}`;
}

/** Bytes at a mark of an axis, without zeros at the end. */
const byteMark = (value, digits) => bytes(value, digits + 2).replace(/(\.\d*?)0+ /, "$1 ").replace(". ", " ");

function count(value) {
  return isNumber(value) ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : UNKNOWN;
}

/** A count at a mark of an axis. */
function countMark(value) {
  if (value < 1) return "";
  const power = Math.log10(value);
  return power >= 4 && Number.isInteger(power) ? `10${raised(power)}` : count(value);
}

const bits = (value) => (isNumber(value) ? value.toFixed(2) : UNKNOWN);
const percent = (value, digits = 1) => (isNumber(value) ? `${(100 * value).toFixed(digits)} %` : UNKNOWN);
const shaped = (shape) => (Array.isArray(shape) ? shape.join(" \u00d7 ") : UNKNOWN);
const many = (number, one, more = one + "s") => `${count(number)} ${number === 1 ? one : more}`;
const shortened = (text, most) => (text.length > most ? text.slice(0, most - 1) + "\u2026" : text);

/** The last part of a path. */
const fileName = (path) => String(path ?? "").split(/[\\/]/).filter(Boolean).pop() ?? "";
