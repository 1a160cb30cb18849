// SPDX-License-Identifier: Apache-2.0
// The settings of the daemon with their sources, to read.
import { Prose } from "../common/prose.tsx";
import { parameters, set } from "../common/route.ts";
import type { Setting } from "../generated/machine.ts";
import { text } from "../text.ts";
import { fits, grouped, isChanged } from "./setting.ts";

const says = text.system.settings;

export function Settings({ all }: { all: readonly Setting[] }) {
  const words = parameters.value.get("q") ?? "";
  const onlyChanged = parameters.value.get("changed") === "1";
  const shown = all.filter((setting) => fits(setting, words, onlyChanged));
  return (
    <section class="panel stack" id="settings">
      <h2>{says.title}</h2>
      <p class="muted"><Prose says={says.says} /></p>
      <search class="filters">
        <input type="search" value={words} placeholder={says.search} aria-label={says.search}
          onInput={(event) => set({ q: [event.currentTarget.value] }, { replace: true })} />
        <button class="chip" aria-pressed={onlyChanged} onClick={() => set({ changed: onlyChanged ? [] : ["1"] })}>
          {says.changed} <span class="muted">{all.filter(isChanged).length}</span>
        </button>
      </search>
      {all.length > 0 && shown.length === 0 && <p class="muted">{says.none}</p>}
      {grouped(shown).map(([group, settings]) => (
        <details key={group} open={words !== "" || onlyChanged}>
          <summary><b>{group || says.general}</b> <span class="muted">{settings.length}</span></summary>
          <table class="plain halves">
            <thead>
              <tr><th>{says.columns.key}</th><th>{says.columns.value}</th></tr>
            </thead>
            <tbody>{settings.map((setting) => <Row key={setting.key} setting={setting} />)}</tbody>
          </table>
        </details>
      ))}
    </section>
  );
}

function Row({ setting }: { setting: Setting }) {
  const { key, value, source, variable, about } = setting;
  return (
    <tr>
      <th scope="row">
        <code>{key}</code>
        {about != null && <p class="muted small"><Prose says={about} /></p>}
        <p class="muted small"><code>{variable}</code></p>
      </th>
      <td>
        <code>{value}</code>
        <p class="muted small">{says.source(source)}</p>
        {isChanged(setting) && <p class="muted small">{says.default(setting.default)}</p>}
      </td>
    </tr>
  );
}
