// SPDX-License-Identifier: Apache-2.0
// "While you were away": what happened since this browser looked last, and one line that says whether it needs anyone.
import { away, markSeen } from "../common/away.ts";
import { now } from "../common/clock.ts";
import { duration, moment } from "../common/format.ts";
import { complete, jobs } from "../common/live.ts";
import { Prose } from "../common/prose.tsx";
import { at } from "../common/root.ts";
import { text } from "../text.ts";
import { summarise } from "./summary.ts";

const says = text.jobs.away;
const MOST_RUNNING = 3;

export function WhileAway() {
  const missed = away.value;
  if (missed === null || !complete.value) return null;
  const { counts, exceptions, running, needing } = summarise(missed.events, jobs.value);
  const parts = [
    ...counts.map(([kind, number]) => says.counts[kind]?.(number) ?? ""),
    ...running.slice(0, MOST_RUNNING).map(({ name, done }) => says.running(name, done)),
  ].filter((part) => part !== "");
  return (
    <section class="panel away" aria-labelledby="away-title">
      <div>
        <h2 id="away-title">{says.title(duration(missed.until - missed.since))}</h2>
        {missed.incomplete && <p>{says.incomplete}</p>}
        <p>
          {parts.length > 0 && <>{says.list(parts)} </>}
          <b class={needing.length > 0 ? "warn" : "good"}>{says.verdict(needing)}</b>
        </p>
        {exceptions.length > 0 && (
          <ul>
            {exceptions.map((event) => (
              <li key={`${event.id} ${event.at} ${event.text}`}>
                <time dateTime={new Date(event.at * 1000).toISOString()}>{moment(event.at, now.value)}</time>
                <span><a href={at(`/jobs/${encodeURIComponent(event.job)}`)}>{event.job}</a>: <Prose says={event.text} /></span>
              </li>
            ))}
          </ul>
        )}
      </div>
      <button class="quiet" onClick={markSeen}>{says.seen}</button>
    </section>
  );
}
