// SPDX-License-Identifier: Apache-2.0
// What the Jobs screen shows while there is no job.
import { text } from "../text.ts";

const says = text.jobs.empty;

export function Empty() {
  return (
    <section class="panel first">
      <h2>{says.title}</h2>
      <p>{says.how} <code>{says.command}</code></p>
    </section>
  );
}
