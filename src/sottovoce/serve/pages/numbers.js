// Numbers, sizes and times in the language of the page.
import { isChinese } from "./language.js";

const language = () => (isChinese() ? "zh-Hans" : "en");

/** A number with at most so many digits after the point. */
export function count(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  const options = { maximumFractionDigits: digits, minimumFractionDigits: digits };
  return new Intl.NumberFormat(language(), options).format(value);
}

/** A loss, an ε or a δ: three digits that count, and a power of ten where it is tiny. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1).replace(".0e", "e");
  return new Intl.NumberFormat(language(), { maximumSignificantDigits: 3 }).format(value);
}

/** Bytes in the largest unit that leaves a whole part. */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${short(size)} ${units[unit]}`;
}

/** Seconds, with a unit. */
export function seconds(value) {
  return `${short(value)} s`;
}

/** A moment, given in seconds since 1970. */
export function moment(value) {
  const form = { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language(), form).format(new Date(value * 1000));
}

/** The time of day, given in milliseconds since 1970. */
export function clock(value) {
  return new Intl.DateTimeFormat(language(), { timeStyle: "medium" }).format(new Date(value));
}
