// Time formatting, and grouping of the chat list by day of last activity.
import { setText } from "./dom.js";
import { data, locale, t } from "./page-data.js";

const zone = data.person.zone || undefined;
const dayFormat = new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" });
const monthFormat = new Intl.DateTimeFormat(locale, { timeZone: zone, month: "long", year: "numeric" });
const timeFormat = new Intl.DateTimeFormat(locale, { timeZone: zone, timeStyle: "short" });
const momentFormat = new Intl.DateTimeFormat(locale, { timeZone: zone, dateStyle: "medium", timeStyle: "short" });
const DAY = 86400000;

const getDayNumber = (date) => Math.floor(Date.parse(`${dayFormat.format(date)}T00:00:00Z`) / DAY);

/** Format `seconds` (Unix) in the user's time zone: only the time if it is today. */
export function formatMoment(seconds) {
  const date = new Date(seconds * 1000);
  return (getDayNumber(date) === getDayNumber(new Date()) ? timeFormat : momentFormat).format(date);
}

/** Show `seconds` (Unix) in a <time> element. */
export function showMoment(node, seconds) {
  const date = new Date(seconds * 1000);
  node.dateTime = date.toISOString();
  node.title = momentFormat.format(date);
  setText(node, formatMoment(seconds));
}

/** Return the group heading for `seconds` (Unix). */
export function getDayGroup(seconds) {
  const date = new Date(seconds * 1000);
  const ago = getDayNumber(new Date()) - getDayNumber(date);
  if (ago <= 0) return t("today");
  if (ago === 1) return t("yesterday");
  if (ago < 7) return t("last_week");
  if (ago < 30) return t("last_month");
  return monthFormat.format(date);
}
