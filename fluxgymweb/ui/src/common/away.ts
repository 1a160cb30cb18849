// SPDX-License-Identifier: Apache-2.0
// What happened while nobody looked at this page in this browser. The browser remembers the place in the daemon's
// events that was seen last. It moves on while the page is visible, and stops while a summary waits to be read.
import { signal } from "@preact/signals";
import type { Event } from "../generated/jobs.ts";
import { announce } from "./announce.tsx";
import { all } from "./api.ts";
import { keep, kept } from "./kept.ts";
import { follow } from "./live.ts";

// How long somebody has to be away for a summary: with the page in the background, and without it.
const HIDDEN_SECONDS = 600;
const GONE_SECONDS = 60;

// `since`: when somebody looked last. `incomplete`: the daemon cannot tell all events any more.
export type Away = { since: number; until: number; events: readonly Event[]; incomplete: boolean };

export const away = signal<Away | null>(null);

const TOLD: readonly Event["kind"][] = ["completed", "failed", "stopped", "interrupted", "stuck", "lost"];

let unfollow: (() => void) | null = null;
let latest = "";
let catching = false;

export function watchAway(): void {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void catchUp(HIDDEN_SECONDS);
  });
  void catchUp(GONE_SECONDS);
}

export function markSeen(): void {
  away.value = null;
  remember(latest);
}

async function catchUp(absence: number): Promise<void> {
  const seen = kept("seen");
  const since = Number(kept("seenAt") ?? 0);
  const until = Date.now() / 1000;
  if (seen !== null && until - since >= absence && away.value === null) {
    catching = true;
    try {
      const replies = await all("org.fluxgym.Jobs.Events", { after: seen });
      const events = replies.flatMap(({ event }) => event ?? []);
      const incomplete = replies.some(({ reset }) => reset === true);
      latest = replies.findLast(({ cursor }) => cursor != null)?.cursor ?? seen;
      if (events.length > 0 || incomplete) away.value = { since, until, events, incomplete };
    } catch {
      return; // the bar at the top says why; the next time that the page is shown is another chance
    } finally {
      catching = false;
    }
  }
  unfollow ??= follow("events", { events: latest || (seen ?? "") }, ({ event, cursor }) => {
    if (event != null && TOLD.includes(event.kind)) announce(`${event.job}: ${event.text}`);
    if (cursor != null) remember(cursor);
  });
}

function remember(cursor: string): void {
  latest = cursor;
  if (catching || away.value !== null || document.hidden || cursor === "") return;
  keep("seen", cursor);
  keep("seenAt", String(Date.now() / 1000));
}
