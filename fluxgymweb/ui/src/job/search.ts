// SPDX-License-Identifier: Apache-2.0
// A search in the whole log, which the daemon does: its matches as they come, and the present one.
import { signal } from "@preact/signals";
import { Refusal, stream } from "../common/api.ts";
import type { LogMatch } from "../generated/jobs.ts";

const MOST_MATCHES = 10_000;
const PAUSE_MS = 100; // between two looks at the matches while they come

export class Search {
  readonly matches = signal<readonly LogMatch[]>([]);
  readonly place = signal(0);
  readonly problem = signal("");
  readonly state = signal<"none" | "runs" | "cut" | "done">("none");
  private ends = new AbortController();

  async run(name: string, text: string, regex: boolean): Promise<void> {
    this.clear();
    if (text === "") return;
    const ends = this.ends;
    this.state.value = "runs";
    const found: LogMatch[] = [];
    let shownAt = 0;
    try {
      for await (const { match } of stream("org.fluxgym.Jobs.SearchLog", { name, text, regex }, ends.signal)) {
        if (match == null || found.length >= MOST_MATCHES) break;
        found.push(match);
        if (Date.now() - shownAt < PAUSE_MS) continue;
        shownAt = Date.now();
        this.matches.value = [...found];
      }
      this.state.value = found.length >= MOST_MATCHES ? "cut" : "done";
    } catch (problem) {
      if (ends.signal.aborted) return;
      this.problem.value = problem instanceof Refusal ? problem.message : String(problem);
      this.state.value = "none";
    }
    this.matches.value = found;
  }

  clear(): void {
    this.ends.abort();
    this.ends = new AbortController();
    this.matches.value = [];
    this.place.value = 0;
    this.problem.value = "";
    this.state.value = "none";
  }

  // The next match, or with -1 the one before; after the last one comes the first.
  step(by: 1 | -1): LogMatch | undefined {
    const number = this.matches.value.length;
    if (number === 0) return undefined;
    this.place.value = (this.place.value + by + number) % number;
    return this.matches.value[this.place.value];
  }
}
