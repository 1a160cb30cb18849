// SPDX-License-Identifier: Apache-2.0
// A notification of the browser when a job has ended, asked for with a button, never on load.
import { effect, signal } from "@preact/signals";
import { text } from "../text.ts";
import { Action } from "./action.tsx";
import { shown } from "./live.ts";

const says = text.tell;

const wanted = signal<ReadonlySet<string>>(new Set());

effect(() => {
  for (const { name, state } of shown.value) {
    if (!wanted.value.has(name) || (state !== "completed" && state !== "failed" && state !== "stopped")) continue;
    want(name, false);
    new Notification(`${text.ends[state]} ${name}`, { body: text.states.state[state], tag: name });
  }
});

export function TellMe({ name }: { name: string }) {
  if (wanted.value.has(name)) return <button onClick={() => want(name, false)}>{says.dont}</button>;
  return <Action words={says.me} run={() => ask(name)} />;
}

async function ask(name: string): Promise<void> {
  if (!window.isSecureContext || !("Notification" in window)) throw new Error(says.insecure);
  if ((await Notification.requestPermission()) !== "granted") throw new Error(says.denied);
  want(name, true);
}

function want(name: string, on: boolean): void {
  const names = new Set(wanted.peek());
  if (on) names.add(name);
  else names.delete(name);
  wanted.value = names;
}
