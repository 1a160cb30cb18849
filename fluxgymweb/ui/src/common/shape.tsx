// SPDX-License-Identifier: Apache-2.0
// The shapes of states, and the pill that shows one with its words. Each shape fits a box of 16 units.
import type { Look, Shape } from "./states.ts";

const PATHS: Record<Shape, string> = {
  quarter: "M8 8V2a6 6 0 0 1 6 6Z",
  half: "M8 2a6 6 0 0 1 0 12Z",
  disc: "M8 3a5 5 0 1 1 0 10a5 5 0 0 1 0-10Z",
  square: "M3.5 3.5h9v9h-9Z",
  pause: "M4 3h3v10H4ZM9 3h3v10H9Z",
  again: "M8 2.5V0l4.5 3.5L8 7V4.6A3.6 3.6 0 1 0 11.6 8.2h2.1A5.7 5.7 0 1 1 8 2.5Z",
  tick: "m6.4 13.2-5-5L3 6.5l3.4 3.4L13 3.2l1.6 1.7Z",
  cross: "m3.6 2 4.4 4.4L12.4 2 14 3.6 9.6 8l4.4 4.4-1.6 1.6L8 9.6 3.6 14 2 12.4 6.4 8 2 3.6Z",
  warning: "M8 1.5 15.2 14H.8ZM7.1 6v4h1.8V6Zm0 5v1.7h1.8V11Z",
  question: "M4.5 5.6C4.5 3.5 6 2 8.1 2s3.5 1.3 3.5 3.2c0 2.5-2.7 2.8-2.7 4.9H7c0-2.9 2.5-3.2 2.5-4.8 "
    + "0-.9-.6-1.4-1.5-1.4-1 0-1.6.7-1.6 1.7ZM7 11.5h2V14H7Z",
};

const RINGED: readonly Shape[] = ["quarter", "half"];

export function Icon({ shape }: { shape: Shape }) {
  return (
    <svg class="shape" viewBox="0 0 16 16" aria-hidden="true">
      {RINGED.includes(shape) && <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" />}
      <path d={PATHS[shape]} fill="currentColor" fill-rule="evenodd" />
    </svg>
  );
}

export function Pill({ look }: { look: Look }) {
  return <span class={`pill ${look.tone}`}><Icon shape={look.shape} />{look.words}</span>;
}
