// A result of the API: columns, rows, and what their types mean.

import { day, instant, number } from "./format.js";

/** @typedef {{name: string, type: string}} ResultColumn */
/** @typedef {{columns: ResultColumn[], rows: any[][], seconds: number, truncated?: boolean}} Result */

const bare = (type) => type.replace(/^(?:(?:LowCardinality|Nullable)\()+/, "");

/** @param {ResultColumn} column */
export const isNumber = (column) => /^(U?Int\d|Float|BFloat|Decimal)/.test(bare(column.type));
/** @param {ResultColumn} column */
export const isTime = (column) => /^Date/.test(bare(column.type));

/** A number out of JSON: 64-bit integers come as text. */
export const numeric = (value) => (value === null || value === undefined || value === "" ? null : Number(value));

/** Values of a column in milliseconds for times, as numbers for numbers, as text for the rest. */
export function typed(column, value) {
  if (value === null || value === undefined) return null;
  if (isTime(column)) return instant(value);
  if (isNumber(column)) return numeric(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What a cell says; as it came where the unit is "raw". */
export function cellText(column, value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "raw" && typeof value !== "object")
    return isTime(column) ? String(value).replace("T", " ") : String(value);
  if (isTime(column))
    return /^Date(32)?\b/.test(bare(column.type)) ? day(String(value)) : number(instant(value), "time");
  if (isNumber(column)) return number(numeric(value), unit);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * The colour of a number, by its thresholds: "good", "warn", "bad" or "".
 * Below the first one the opposite of the last one holds: high is bad, or high is good.
 */
export function level(value, thresholds) {
  if (!thresholds?.length || value === null) return "";
  const base = thresholds.at(-1).color === "bad" ? "good" : "bad";
  return thresholds.findLast((step) => value >= step.value)?.color ?? base;
}

/** A result as CSV (RFC 4180). @param {Result} result */
export function csv(result) {
  const field = (value) => {
    const text =
      value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [result.columns.map((column) => column.name), ...result.rows]
    .map((row) => row.map(field).join(","))
    .join("\r\n");
}
