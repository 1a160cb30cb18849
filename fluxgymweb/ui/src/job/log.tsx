// SPDX-License-Identifier: Apache-2.0
// The section with the log: its bar, and the lines. The URL says from where it is read (`from`), which line is marked
// (`line`, counted from there) and what is searched (`q`).
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { sentence } from "../common/api.ts";
import { size } from "../common/format.ts";
import { useKeys } from "../common/keys.ts";
import { kept, keep } from "../common/kept.ts";
import { Prose } from "../common/prose.tsx";
import { parameters, set } from "../common/route.ts";
import type { Job, LogMatch } from "../generated/jobs.ts";
import { log as says } from "../text/job.ts";
import { plain } from "./ansi.ts";
import { copy } from "./copy.tsx";
import { Rows } from "./rows.tsx";
import { fileOf } from "./links.ts";
import { Search } from "./search.ts";
import { LOG, Tail } from "./tail.ts";

export function Log({ job: { context: { name } } }: { job: Job }) {
  const from = numberOf("from");
  const key = `${name} ${from}`;
  const tail = useMemo(() => new Tail(), [key]);
  const search = useMemo(() => new Search(), [name]);
  const problem = useSignal("");
  const following = useSignal(numberOf("line") === null);
  const wraps = useSignal(kept("wrap") !== "off");
  useEffect(() => {
    problem.value = "";
    tail.open(name, from).catch((refused: unknown) => { problem.value = sentence(refused); });
    return () => tail.close();
  }, [tail]);
  const query = parameters.value.get("q") ?? "";
  const regex = parameters.value.get("regex") !== null;
  useEffect(() => {
    void search.run(name, query, regex).then(() => {
      if (numberOf("line") === null) jump(search.matches.value[0]);
    });
    return () => search.clear();
  }, [search, query, regex]);
  const jump = (match: LogMatch | undefined) => {
    if (match === undefined) return;
    following.value = false;
    const isHere = tail.from.value === 0 && match.line != null && match.line > tail.lines.dropped;
    const place = isHere ? { from: from === 0 ? ["0"] : [], line: [String(match.line)] } : { from: [String(match.offset)], line: ["1"] };
    set(place, { replace: true });
  };
  const keys = useMemo(() => ({
    f: () => { following.value = !following.value; },
    n: () => jump(search.step(1)),
    N: () => jump(search.step(-1)),
  }), [tail, search]);
  useKeys(keys);
  const wrap = (on: boolean) => {
    wraps.value = on;
    keep("wrap", on ? null : "off");
  };
  return (
    <section class="panel log">
      <h2 class="unseen">{says.title}</h2>
      <div class="filters">
        <SearchBar search={search} query={query} regex={regex} jump={jump} />
        <label class="line">
          <input type="checkbox" checked={following.value} onChange={(event) => { following.value = event.currentTarget.checked; }} />
          {says.follow}
        </label>
        <label class="line">
          <input type="checkbox" checked={wraps.value} onChange={(event) => wrap(event.currentTarget.checked)} />
          {says.wrap}
        </label>
        <button onClick={() => void copy(plain(tail.lines.all()), says.copied)}>{says.copy}</button>
        <a class="button" href={fileOf(name, LOG)} download>{says.download}</a>
      </div>
      {problem.value !== "" && <p class="refused"><Prose says={problem.value} /></p>}
      <Before tail={tail} />
      <Rows key={key} tail={tail} following={following} wraps={wraps.value} marked={numberOf("line")}
        mark={(line) => set({ line: [String(line)], from: tail.from.value ? [String(tail.from.value)] : [] }, { replace: true })} />
    </section>
  );
}

function SearchBar({ search, query, regex, jump }: {
  search: Search; query: string; regex: boolean; jump: (match: LogMatch | undefined) => void;
}) {
  const { matches, place, state, problem } = search;
  const typed = useSignal(query);
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed.value === query && matches.value.length > 0) jump(search.step(1));
    else set({ q: [typed.value], line: [], from: [] }, { replace: true });
  };
  const number = matches.value.length;
  const outcome = number > 0 ? says.matches(place.value + 1, number, state.value === "done") : state.value === "done" ? says.none : "";
  return (
    <search>
      <form class="filters" onSubmit={submit}>
        <input type="search" value={typed.value} placeholder={says.search} aria-label={says.search}
          onInput={(event) => { typed.value = event.currentTarget.value; }} />
        <label class="line" title={says.regex}>
          <input type="checkbox" checked={regex} aria-label={says.regex}
            onChange={(event) => set({ regex: event.currentTarget.checked ? ["1"] : [], line: [], from: [] }, { replace: true })} />
          <code>.*</code>
        </label>
        <button>{says.find}</button>
        <button type="button" class="quiet round" aria-label={says.previous} title={says.previous} disabled={number === 0}
          onClick={() => jump(search.step(-1))}>↑</button>
        <button type="button" class="quiet round" aria-label={says.next} title={says.next} disabled={number === 0}
          onClick={() => jump(search.step(1))}>↓</button>
        <span role="status" class="muted">{outcome}</span>
      </form>
      {problem.value !== "" && <p class="refused" role="alert">{problem.value}</p>}
    </search>
  );
}

// What is not shown above the first line.
function Before({ tail }: { tail: Tail }) {
  void tail.version.value;
  const isCut = (tail.from.value ?? 0) > 0 || tail.lines.dropped > 0;
  return (
    <>
      {tail.missing.value > 0 && <p class="muted">{says.missing(size(tail.missing.value))}</p>}
      {isCut && (
        <p class="muted">
          {says.earlier} <button class="quiet" onClick={() => set({ from: ["0"], line: ["1"] })}>{says.beginning}</button>
        </p>
      )}
    </>
  );
}

function numberOf(name: string): number | null {
  const value = parameters.value.get(name);
  return value !== null && /^\d+$/.test(value) ? Number(value) : null;
}
