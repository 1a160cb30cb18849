// SPDX-License-Identifier: Apache-2.0
// The filter above the table. All of it is in the URL, so a filtered table has a link and survives a reload.
import { parameters, set } from "../common/route.ts";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { Class, counted, filterOf, isEmpty, isOf } from "./filter.ts";

const says = text.jobs;

export function Filters({ jobs }: { jobs: readonly Job[] }) {
  const filter = filterOf(parameters.value);
  const groups = counted(jobs.flatMap((job) => job.annotation?.group ?? []));
  const tags = counted(jobs.flatMap((job) => job.annotation?.tags ?? []));
  const search = (event: { currentTarget: HTMLInputElement }) =>
    set({ q: [event.currentTarget.value] }, { replace: true });
  return (
    <search class="filters">
      <input type="search" value={parameters.value.get("q") ?? ""} placeholder={says.search} aria-label={says.search}
        onInput={search} onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()} />
      <Toggles name="state" label={says.columns.state} values={filter.classes}
        choices={Class.map((one) => [one, jobs.filter((job) => isOf(one, job)).length])} words={says.classes} />
      {groups.length > 0 && (
        <select aria-label={says.group} value={filter.group}
          onChange={(event) => set({ group: [event.currentTarget.value] })}>
          <option value="">{says.anyGroup}</option>
          {groups.map(([group, number]) => <option key={group} value={group}>{says.counted(group, number)}</option>)}
        </select>
      )}
      {tags.length > 0 && <Toggles name="tag" label={says.tags} values={filter.tags} choices={tags} />}
      {!isEmpty(filter) && (
        <button class="quiet" onClick={() => set({ q: [], state: [], group: [], tag: [] })}>{says.clear}</button>
      )}
    </search>
  );
}

type TogglesProps = {
  name: string;
  label: string;
  values: readonly string[];
  choices: readonly (readonly [string, number])[];
  words?: Record<string, string>;
};

function Toggles({ name, label, values, choices, words = {} }: TogglesProps) {
  return (
    <div class="toggles" role="group" aria-label={label}>
      {choices.map(([value, number]) => {
        const on = values.includes(value);
        const next = on ? values.filter((one) => one !== value) : [...values, value];
        return (
          <button key={value} class="chip" aria-pressed={on} disabled={!on && number === 0}
            onClick={() => set({ [name]: next })}>
            {words[value] ?? value} <span class="muted">{number}</span>
          </button>
        );
      })}
    </div>
  );
}
