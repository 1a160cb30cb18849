// SPDX-License-Identifier: Apache-2.0
// The Jobs screen: what happened while nobody looked, and the table of all jobs.
import { sentence } from "../common/api.ts";
import { complete } from "../common/live.ts";
import { complain } from "../common/notices.tsx";
import { parameters } from "../common/route.ts";
import { text } from "../text.ts";
import { WhileAway } from "./away.tsx";
import { ChosenBar } from "./bar.tsx";
import { Empty } from "./empty.tsx";
import { filterOf, inOrder, shows } from "./filter.ts";
import { Filters } from "./filters.tsx";
import { areMore, fetchOlder, known } from "./older.ts";
import { Table } from "./table.tsx";

const says = text.jobs;

async function older(): Promise<void> {
  try {
    await fetchOlder();
  } catch (problem) {
    complain(sentence(problem));
  }
}

export function JobsScreen() {
  const all = inOrder(known.value.values());
  const filter = filterOf(parameters.value);
  const shown = all.filter((job) => shows(filter, job));
  return (
    <>
      <h1 class="unseen">{says.title}</h1>
      <WhileAway />
      {all.length === 0 && (complete.value ? <Empty /> : <p class="muted">{says.loading}</p>)}
      {all.length > 0 && (
        <section class="panel">
          <Filters jobs={all} />
          {shown.length > 0 ? <Table jobs={shown} /> : <p class="muted">{says.noneFits}</p>}
          {areMore.value && <button class="quiet" onClick={() => void older()}>{says.older}</button>}
        </section>
      )}
      <ChosenBar shown={shown.map((job) => job.context.name)} />
    </>
  );
}
