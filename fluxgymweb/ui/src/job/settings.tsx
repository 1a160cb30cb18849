// SPDX-License-Identifier: Apache-2.0
// The section with the job's settings, and the files that the trainer gets, to read and to copy.
import { sentence } from "../common/api.ts";
import type { Job, JobFile } from "../generated/jobs.ts";
import { settings as says } from "../text/job.ts";
import { TrainAgain } from "./actions.tsx";
import { Copyable } from "./copy.tsx";
import { useFetched } from "./fetched.ts";
import { fieldsOf } from "./fields.ts";
import { useFiles } from "./job-files.ts";
import { fileOf } from "./links.ts";

const MOST_BYTES = 1024 * 1024; // larger ones are only for download

const COMMAND = /^attempts\/.*\/command\.txt$/;

export function Settings({ job }: { job: Job }) {
  const found = useFiles(job);
  const files = (found.value ?? []).filter(({ kind }) => kind === "settings");
  const commands = files.filter(({ name }) => COMMAND.test(name)).sort((a, b) => (a.name < b.name ? 1 : -1));
  const shown = [...commands.slice(0, 1), ...files.filter((file) => !commands.includes(file))];
  return (
    <>
      <section class="panel">
        <h2>{says.title}</h2>
        <dl class="pairs settings">
          {fieldsOf(job.context).map(([name, value]) => (
            <div key={name}><dt><code>{name}</code></dt><dd>{value}</dd></div>
          ))}
        </dl>
      </section>
      {found.problem !== "" && <p class="refused">{found.problem}</p>}
      {shown.map((file) => <Text key={file.name} job={job} file={file} />)}
      <section class="panel"><h2>{says.again}</h2><TrainAgain job={job} /></section>
    </>
  );
}

function Text({ job, file }: { job: Job; file: JobFile }) {
  const url = fileOf(job.context.name, file.name);
  const { value, problem } = useFetched(`${url} ${file.createdAt}`, async () => {
    if (file.size > MOST_BYTES) return "";
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(sentence(await answer.text()));
    return answer.text();
  });
  return (
    <section class="panel">
      <div class="titled">
        <h2>{COMMAND.test(file.name) ? says.command : file.name}</h2>
        <a href={url} download>{file.name}</a>
      </div>
      {problem !== "" && <p class="refused">{problem}</p>}
      {value !== null && value !== "" && <Copyable says={value} />}
    </section>
  );
}
