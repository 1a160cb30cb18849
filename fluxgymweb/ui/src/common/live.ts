// SPDX-License-Identifier: Apache-2.0
// One stream from the server with everything that the page follows: the present state of all jobs and of the machine
// always, a log or metrics while a screen asks for them. After a break it continues where it was. Only a visible page
// holds the stream, since a browser has six connections for all its tabs; a hidden one asks for a summary every 15
// seconds.
import { effect, signal } from "@preact/signals";
import type { Job } from "../generated/jobs.ts";
import type { MachineState } from "../generated/machine.ts";
import { API, call, type Output, Refusal } from "./api.ts";
import { text } from "../text.ts";
import { viewedJob } from "./route.ts";
import { ACTIVE } from "./states.ts";
import type { Shown } from "./tab.ts";

// The events of the stream and their data.
export type Streams = {
  daemon: { up: boolean; problem: { error: string; parameters: { message: string } } | null };
  jobs: { reset: boolean; complete: boolean; jobs: Job[]; removed: string[] };
  machine: MachineState;
  log: Output<"org.fluxgym.Jobs.Logs"> & { name: string };
  events: Output<"org.fluxgym.Jobs.Events">;
  metrics: Output<"org.fluxgym.Jobs.Metrics"> & { name: string };
  problem: { stream: string; error: string; parameters: { message: string } };
};
type Outage = { what: "server" | "daemon" | "access"; message: string; since: number };

// Each job by its name.
export const jobs = signal<ReadonlyMap<string, Job>>(new Map());
// Whether `jobs` is all of the present state.
export const complete = signal(false);
export const machine = signal<MachineState | null>(null);
// What does not answer, and since when.
export const outage = signal<Outage | null>(null);
// What the browser's tab tells of, also while the page is hidden.
export const shown = signal<readonly Shown[]>([]);
// Whether the server is of another version than this page.
export const outdated = signal(false);

const LOOK_MS = 15_000;
const RETRY_MS = 2_000;

// The query of the stream: what is followed, and from where on.
const query = new Map([["jobs", ""], ["machine", ""]]);
const listeners = new Map<keyof Streams, Set<(data: never) => void>>();
let source: EventSource | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

export function begin(): void {
  listen("daemon", ({ up, problem }) => {
    if (up) recovered("daemon");
    else if (problem === null || problem.error.endsWith(".Leaving")) failed("daemon", text.away.leaving);
    else failed("daemon", `${problem.parameters.message} ${text.away.daemon}`);
  });
  listen("jobs", applyJobs);
  listen("machine", (state) => {
    outdated.value ||= machine.value !== null && machine.value.version !== state.version;
    machine.value = state;
  });
  effect(() => {
    shown.value = [...jobs.value.values()].map(({ context: { name }, runtime }) => ({ name, ...runtime }));
  });
  document.addEventListener("visibilitychange", connect);
  connect();
}

// Hears events of a kind; returns the way to stop.
export function listen<N extends keyof Streams>(name: N, hear: (data: Streams[N]) => void): () => void {
  const heard = listeners.get(name) ?? new Set();
  listeners.set(name, heard.add(hear));
  return () => heard.delete(hear);
}

// Adds to the stream: `what` are words of its query, such as {log: "my-cat", offset: "-500"}. Returns the way to stop.
export function follow<N extends keyof Streams>(
  name: N, what: Record<string, string>, hear: (data: Streams[N]) => void,
): () => void {
  const unlisten = listen(name, hear);
  for (const [word, value] of Object.entries(what)) query.set(word, value);
  connect();
  return () => {
    unlisten();
    for (const word of Object.keys(what)) query.delete(word);
    connect();
  };
}

function connect(): void {
  source?.close();
  clearTimeout(timer);
  if (document.hidden) {
    timer = setTimeout(lookFromAside, LOOK_MS);
    return;
  }
  source = new EventSource(`${API}/live?${new URLSearchParams([...query])}`);
  source.addEventListener("open", () => recovered("server"));
  source.addEventListener("error", broken);
  const names: (keyof Streams)[] = ["daemon", "jobs", "machine", "log", "events", "metrics", "problem"];
  for (const name of names) source.addEventListener(name, (event) => receive(name, event));
}

function receive(name: keyof Streams, event: MessageEvent<string>): void {
  for (const [word, place] of new URLSearchParams(event.lastEventId)) if (query.has(word)) query.set(word, place);
  const data = JSON.parse(event.data);
  for (const hear of listeners.get(name) ?? []) hear(data as never);
}

async function lookFromAside(): Promise<void> {
  const active = shown.value.filter(({ state }) => ACTIVE.includes(state)).map(({ name }) => name);
  const names = [...active, viewedJob.value].flatMap((name) => (name === null ? [] : [["job", name]]));
  try {
    const answer = await fetch(`${API}/summary?${new URLSearchParams(names)}`);
    const summary: { known: boolean; jobs: Shown[] } = await answer.json();
    if (answer.ok && summary.known && document.hidden) shown.value = summary.jobs;
  } catch {
    // The next look may succeed; the bar at the top can wait until the page is shown.
  }
  if (document.hidden) timer = setTimeout(lookFromAside, LOOK_MS);
}

function applyJobs(news: Streams["jobs"]): void {
  const next = new Map(news.reset ? [] : jobs.value);
  for (const job of news.jobs) next.set(job.context.name, job);
  for (const name of news.removed) next.delete(name);
  jobs.value = next;
  complete.value = news.complete;
}

// The browser tries again by itself unless the server refused; then the reason decides.
async function broken(): Promise<void> {
  const closed = source?.readyState === EventSource.CLOSED;
  if (closed) timer = setTimeout(connect, RETRY_MS);
  try {
    await call("org.fluxgym.Machine.Info", {});
  } catch (problem) {
    const error = problem instanceof Refusal ? problem.error : "";
    if (error.endsWith(".TokenMissing")) failed("access", text.away.denied);
    else if (error === "") failed("server", text.away.server);
  }
}

function failed(what: Outage["what"], message: string): void {
  const since = outage.value?.what === what ? outage.value.since : Date.now() / 1000;
  outage.value = { what, message, since };
}

function recovered(what: Outage["what"]): void {
  if (outage.value?.what === what || outage.value?.what === "access") outage.value = null;
}
