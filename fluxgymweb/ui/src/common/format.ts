// SPDX-License-Identifier: Apache-2.0
// Values in a form for people. An absent value is a dash.
import { text } from "../text.ts";

const units = text.units;

export const ABSENT = "–";

type Maybe<T> = T | null | undefined;

export function whole(value: Maybe<number>): string {
  return value == null ? ABSENT : new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 }).format(value);
}

export function decimal(value: Maybe<number>, digits = 2): string {
  if (value == null) return ABSENT;
  return new Intl.NumberFormat(undefined, {
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(value);
}

// Bytes, in the largest binary unit in which the number is at least 1.
export function size(bytes: Maybe<number>): string {
  if (bytes == null) return ABSENT;
  let value = bytes;
  let power = 0;
  while (value >= 1023.95 && power < units.bytes.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${decimal(value, power === 0 || value >= 100 ? 0 : 1)} ${units.bytes[power]}`;
}

// One or two of the largest units that apply: 45 s, 12 min, 1 h 05 min, 3 d 4 h.
export function duration(seconds: Maybe<number>): string {
  if (seconds == null) return ABSENT;
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} ${units.second}`;
  const minutes = Math.round(rounded / 60);
  if (minutes < 60) return `${minutes} ${units.minute}`;
  if (minutes < 24 * 60) {
    const rest = String(minutes % 60).padStart(2, "0");
    return `${Math.floor(minutes / 60)} ${units.hour} ${rest} ${units.minute}`;
  }
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} ${units.day} ${hours % 24} ${units.hour}`;
}

// How long ago, in one unit; 0 s if the clock was set back since.
export function age(then: Maybe<number>, now: number): string {
  if (then == null) return ABSENT;
  const seconds = Math.max(0, now - then);
  if (seconds < 60) return `${Math.floor(seconds)} ${units.second}`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} ${units.minute}`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} ${units.hour}`;
  return `${Math.floor(seconds / 86400)} ${units.day}`;
}

// A time, with the date unless it is today.
export function moment(then: Maybe<number>, now: number): string {
  if (then == null) return ABSENT;
  const date = new Date(then * 1000);
  const today = date.toDateString() === new Date(now * 1000).toDateString();
  return new Intl.DateTimeFormat(undefined, {
    ...(!today && { month: "short", day: "numeric" }), hour: "2-digit", minute: "2-digit",
  }).format(date);
}

// The share that is done, rounded down, so that 100 means all.
export function percent(done: Maybe<number>, total: Maybe<number>): number | null {
  return done == null || !total ? null : Math.min(100, Math.floor((100 * done) / total));
}

export function speed(secondsPerStep: Maybe<number>): string {
  if (secondsPerStep == null || secondsPerStep <= 0) return ABSENT;
  return secondsPerStep >= 1
    ? `${decimal(secondsPerStep)} ${units.secondsPerStep}`
    : `${decimal(1 / secondsPerStep)} ${units.stepsPerSecond}`;
}
