// SPDX-License-Identifier: Apache-2.0
// What the Jobs screen shows while there is no job: how to begin, and whether this machine is fit to train.
import { Checks } from "../common/checks.tsx";
import { text } from "../text.ts";

const says = text.jobs.empty;

export function Empty() {
  return (
    <section class="panel first">
      <h2>{says.title}</h2>
      <p>{says.how}</p>
      <pre><code>{says.commands.join("\n")}</code></pre>
      <h3>{text.checks.title}</h3>
      <Checks />
    </section>
  );
}
