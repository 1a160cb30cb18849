// SPDX-License-Identifier: Apache-2.0
// The help on keys, and the choice of the theme.
import { signal } from "@preact/signals";
import { text } from "../text.ts";
import { Dialog } from "./dialog.tsx";
import { keysAreOn, switchKeys, useKeys } from "./keys.ts";
import { at } from "./root.ts";
import { go } from "./route.ts";
import { chooseTheme, chosenTheme, Theme } from "./theme.ts";

const open = signal(false);

export function openHelp(): void {
  open.value = true;
}

const KEYS = {
  "?": openHelp,
  "g j": () => go(at("/")),
  "g s": () => go(at("/system")),
  "/": () => document.querySelector<HTMLElement>("[type=search]")?.focus(),
};

export function Help() {
  useKeys(KEYS);
  if (!open.value) return null;
  return (
    <Dialog title={text.help.title} close={() => { open.value = false; }}>
      <fieldset class="choice">
        <legend>{text.help.theme}</legend>
        {Theme.map((theme) => (
          <label key={theme}>
            <input type="radio" name="theme" defaultChecked={chosenTheme() === theme} onChange={() => chooseTheme(theme)} />
            {text.help.themes[theme]}
          </label>
        ))}
      </fieldset>
      <h3>{text.help.keys}</h3>
      <dl class="pairs">
        {text.help.rows.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}
      </dl>
      <label class="line">
        <input type="checkbox" defaultChecked={keysAreOn()} onChange={(event) => switchKeys(event.currentTarget.checked)} />
        {text.help.single}
      </label>
      <form method="dialog" class="buttons"><button>{text.close}</button></form>
    </Dialog>
  );
}
