// SPDX-License-Identifier: Apache-2.0
// What a job looks like: words, shape and colour for each state, with what it waits for, its phase and the watchdog's
// verdict. Nothing is told by the colour alone. A value that this page does not know gets the words of its wire name.
import type { Job, Phase, State, Verdict, WaitingFor } from "../generated/jobs.ts";
import { text } from "../text.ts";

export type Shape =
  | "quarter" | "half" | "disc" | "square" | "pause" | "again" | "tick" | "cross" | "warning" | "question";
export type Tone = "good" | "busy" | "wait" | "warn" | "bad" | "calm";
export type Look = { words: string; shape: Shape; tone: Tone };

export type Facts = {
  state: State;
  waitingFor?: WaitingFor | null;
  phase?: Phase | null;
  verdict?: Verdict | null;
};

const words = text.states;

// Shape and colour of a wait. All others are a quarter of a disc, in the colour of waiting.
const WAITS: Partial<Record<WaitingFor, [Shape, Tone]>> = {
  start: ["half", "busy"],
  supervisor: ["warning", "warn"],
  held: ["pause", "calm"],
  paused: ["pause", "calm"],
  back_off: ["again", "warn"],
  home: ["warning", "warn"],
};

const PREPARING: readonly Phase[] = ["starting", "downloading", "loading", "caching"];

const PLAIN: Record<Exclude<State, "queued" | "running" | "interrupted">, [Shape, Tone]> = {
  starting: ["half", "busy"],
  stopping: ["square", "busy"],
  stopped: ["square", "calm"],
  completed: ["tick", "good"],
  failed: ["cross", "bad"],
  lost: ["question", "bad"],
  damaged: ["warning", "bad"],
};

export function look({ state, waitingFor, phase, verdict }: Facts): Look {
  switch (state) {
    case "queued":
      return waiting(words.state.queued, "quarter", "wait", waitingFor);
    case "interrupted":
      return waiting(words.state.interrupted, "again", "warn", waitingFor);
    case "running":
      return running(phase, verdict);
    default: {
      const known = PLAIN[state];
      if (known === undefined) return { words: plain(state), shape: "disc", tone: "calm" };
      return { words: words.state[state], shape: known[0], tone: known[1] };
    }
  }
}

function waiting(name: string, shape: Shape, tone: Tone, waitingFor: WaitingFor | null | undefined): Look {
  if (waitingFor == null) return { words: name, shape, tone };
  const [itsShape, itsTone] = WAITS[waitingFor] ?? [shape, tone];
  return { words: words.with(name, words.wait[waitingFor] ?? plain(waitingFor)), shape: itsShape, tone: itsTone };
}

function running(phase: Phase | null | undefined, verdict: Verdict | null | undefined): Look {
  const doing = phase == null ? words.state.running : (words.phase[phase] ?? plain(phase));
  if (verdict === "stuck") return { words: words.with(words.verdict.stuck, doing), shape: "warning", tone: "bad" };
  if (verdict === "suspicious") {
    return { words: words.with(words.verdict.suspicious, doing), shape: "warning", tone: "warn" };
  }
  const prepares = phase != null && PREPARING.includes(phase);
  return { words: doing, shape: prepares ? "half" : "disc", tone: prepares ? "busy" : "good" };
}

function plain(value: string): string {
  return value.replaceAll("_", " ");
}

export function factsOf({ runtime }: Job): Facts {
  return {
    state: runtime.state,
    waitingFor: runtime.waitingFor ?? null,
    phase: runtime.progress?.phase ?? null,
    verdict: runtime.watchdog?.verdict ?? null,
  };
}

export function lookOf(job: Job): Look {
  return look(factsOf(job));
}

export const ENDED: readonly State[] = ["stopped", "completed", "failed", "damaged"];
export const ACTIVE: readonly State[] = ["starting", "running", "stopping"];
export const WAITING: readonly State[] = ["queued", "interrupted"];

export function hasEnded(job: Job): boolean {
  return ENDED.includes(job.runtime.state);
}

// Whether the job is a training. Nothing is known of a job whose journal cannot be read.
export function trains({ context, runtime }: Job): boolean {
  return context.kind !== "program" && runtime.state !== "damaged";
}
