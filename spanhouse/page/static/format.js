// Numbers, times and ranges as people read them.

const MINUTE = 60_000;
const UNITS = { s: 1000, m: MINUTE, h: 60 * MINUTE, d: 1440 * MINUTE, w: 7 * 1440 * MINUTE };

/** Presets of the time range: what stands in the URL, and its name. */
export const RANGES = [
  ["now-15m", "Last 15 minutes"],
  ["now-1h", "Last hour"],
  ["now-3h", "Last 3 hours"],
  ["now-6h", "Last 6 hours"],
  ["now-12h", "Last 12 hours"],
  ["now-24h", "Last 24 hours"],
  ["now-2d", "Last 2 days"],
  ["now-7d", "Last 7 days"],
  ["now-14d", "Last 14 days"],
  ["now-30d", "Last 30 days"],
];

/**
 * A moment in Grafana's way of writing: now, now-6h, now/d, milliseconds, ISO 8601.
 * @param {string} text
 * @param {boolean} [end] whether `/d` is the end of the day instead of its start
 * @returns {number} milliseconds since 1970; NaN where it is none
 */
export function moment(text, end = false) {
  if (/^\d+$/.test(text)) return Number(text);
  const found = /^now(?:([+-])(\d+)([smhdwMy]))?(?:\/([smhdwMy]))?$/.exec(text);
  if (!found) return Date.parse(text);
  const [, sign, count, unit, round] = found;
  const date = new Date();
  if (unit === "M") date.setUTCMonth(date.getUTCMonth() + Number(sign + count));
  else if (unit === "y") date.setUTCFullYear(date.getUTCFullYear() + Number(sign + count));
  else if (unit) date.setTime(date.getTime() + Number(sign + count) * UNITS[unit]);
  return round ? cut(date, round, end) : date.getTime();
}

/** Start (end) of the minute, hour, day, … in UTC, as the server does it. */
function cut(date, unit, end) {
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const more = end ? 1 : 0;
  if (unit === "y") return Date.UTC(year + more, 0, 1) - more;
  if (unit === "M") return Date.UTC(year, month + more, 1) - more;
  if (unit === "w") return Date.UTC(year, month, day - ((date.getUTCDay() + 6) % 7) + 7 * more) - more;
  const width = UNITS[unit];
  return Math.floor(date.getTime() / width) * width + more * (width - 1);
}

/** What the button of the time range says. @param {string} from @param {string} to */
export function rangeText(from, to) {
  const preset = RANGES.find(([value]) => value === from);
  if (preset && to === "now") return preset[1];
  const [start, end] = [moment(from), moment(to, true)];
  if (Number.isNaN(start) || Number.isNaN(end)) return `${from} to ${to}`;
  if (to === "now" && from.startsWith("now")) return `${from} to now`;
  const sameDay = new Date(start).toDateString() === new Date(end).toDateString();
  return `${time(start)} – ${to === "now" ? "now" : sameDay ? clock(end) : time(end)}`;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** @param {number} ms */
export const clock = (ms) => clockFormat.format(ms).replace(/:00$/, "");

/** Date and time of day, in the time zone of this machine. @param {number} ms */
export function time(ms) {
  const year = new Date(ms).getFullYear();
  const of = year === new Date().getFullYear() ? "" : ` ${year}`;
  return `${dayFormat.format(ms)}${of}, ${clock(ms)}`;
}

/** A day, as ClickHouse writes a Date. @param {string} text */
export const day = (text) =>
  new Date(text).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

/** A value of a column of type DateTime (UTC, as ClickHouse writes it) in milliseconds. */
export function instant(value) {
  if (typeof value === "number") return value > 1e11 ? value : value * 1000;
  const text = String(value)
    .replace(" ", "T")
    .replace(/(\.\d{3})\d+/, "$1");
  return Date.parse(text.length > 10 && !/[Z+]/.test(text) ? `${text}Z` : text);
}

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const small = new Intl.NumberFormat("en", { minimumSignificantDigits: 2, maximumSignificantDigits: 3 });

/**
 * A number with its unit.
 * @param {number | null | undefined} value
 * @param {string} unit of spanhouse/dashboards/model.py
 */
export function number(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  switch (unit) {
    case "count":
    case "tokens":
      return compact(value);
    case "usd":
      return value < 0 ? `-$${dollars(-value)}` : `$${dollars(value)}`;
    case "ms":
      return duration(value);
    case "seconds":
      return duration(value * 1000);
    case "percent":
      return percent(value);
    case "bytes":
      return bytes(value);
    case "rate":
      return `${compact(value)}/s`;
    case "time":
      return time(value > 1e11 ? value : value * 1000);
    default:
      if (value && Math.abs(value) < 1e-4) return value > 0 ? "<0.0001" : ">-0.0001";
      return Math.abs(value) < 1000 ? compact(value) : plain.format(value);
  }
}

function compact(value) {
  return Math.abs(value) < 1000 ? plain.format(Number(value.toPrecision(3))) : short.format(value).replace("K", "k");
}

/** A cent of model calls is many calls: small amounts keep three digits. */
function dollars(value) {
  if (value >= 100_000) return short.format(value).replace("K", "k");
  if (value >= 1 || value === 0) return cents.format(value);
  return value < 1e-7 ? "0.00" : small.format(value);
}

/** @param {number} ms */
export function duration(ms) {
  const size = Math.abs(ms);
  if (size === 0) return "0 ms";
  if (size < 1) return `${Number((ms * 1000).toPrecision(3))} µs`;
  if (size < 1000) return `${Number(ms.toPrecision(3))} ms`;
  if (size < 60_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  const seconds = Math.round(ms / 1000);
  if (size < 3_600_000) return two(Math.trunc(seconds / 60), "m", seconds % 60, "s");
  if (size < 172_800_000) return two(Math.trunc(seconds / 3600), "h", Math.round((seconds % 3600) / 60), "m");
  return `${Number((ms / 86_400_000).toPrecision(3))} d`;
}

const two = (first, a, second, b) => (second ? `${first}${a} ${second}${b}` : `${first} ${a === "m" ? "min" : a}`);

function percent(value) {
  const hundred = value * 100;
  if (hundred === 0 || hundred === 100) return `${hundred}%`;
  // 99.999 must not become 100.
  if (hundred > 99 && hundred < 100) return `${Math.floor(hundred * 100) / 100}%`;
  const digits = Math.abs(hundred) < 1 ? 2 : Math.abs(hundred) < 100 ? 1 : 0;
  return `${Number(hundred.toFixed(digits))}%`;
}

function bytes(value) {
  let index = 0;
  while (Math.abs(value) >= 1024 && index < 5) {
    value /= 1024;
    index += 1;
  }
  return `${Number(value.toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][index]}`;
}

/** Heading of a column: its title, or its name without underscores. */
export const heading = (name, column) => column?.title || name.replaceAll("_", " ");
