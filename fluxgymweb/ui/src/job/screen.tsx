// SPDX-License-Identifier: Apache-2.0
// The screen of one job: how it is, and its sections, each with a URL of its own.
import { at } from "../common/root.ts";
import { text } from "../text.ts";
import { found, useJob } from "./found.ts";
import { Head } from "./head.tsx";
import { Reason } from "./reason.tsx";
import { type Section, sectionsOf } from "./sections.tsx";

const says = text.job;

export function JobScreen({ name, section = "" }: { name: string; section?: string }) {
  useJob(name);
  const { job, refusal } = found.value;
  const sections = job === null ? [] : sectionsOf(job);
  const shown = sections.find(({ id }) => id === section);
  if (job === null || shown === undefined) {
    const missing = refusal ?? (job !== null ? text.nothingHere.title : null);
    return (
      <section class="panel">
        <h1>{name}</h1>
        {missing === null ? <p class="muted">{text.jobs.loading}</p> : <p>{missing}</p>}
        {missing !== null && <p><a href={at("/")}>{text.nothingHere.home}</a></p>}
      </section>
    );
  }
  return (
    <>
      <Head job={job} />
      <Reason job={job} />
      <Sections of={name} all={sections} shown={section} />
      {shown.show(job)}
    </>
  );
}

function Sections({ of, all, shown }: { of: string; all: readonly Section[]; shown: string }) {
  return (
    <nav class="sections" aria-label={says.sectionsOf(of)}>
      {all.map(({ id, words }) => (
        <a key={id} href={hrefOf(of, id)} aria-current={id === shown ? "page" : undefined}>{words}</a>
      ))}
    </nav>
  );
}

function hrefOf(name: string, section: string): string {
  const start = at(`/jobs/${encodeURIComponent(name)}`);
  return section === "" ? start : `${start}/${section}`;
}
