// SPDX-License-Identifier: Apache-2.0
// The browser's own dialog: it keeps the focus inside, closes with Esc and gives the focus back.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { text } from "../text.ts";

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onClose={close}
      onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}>
      <div class="inside">
        <h2 id="dialog-title">{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

type Question = { title: string; says: string; yes: string; run: () => void };

const question = signal<Question | null>(null);

// Asks before something that cannot be undone. `says` names what is lost and what is kept.
export function confirm(asked: Question): void {
  question.value = asked;
}

export function Confirmation() {
  const asked = question.value;
  if (asked === null) return null;
  const close = () => { question.value = null; };
  return (
    <Dialog title={asked.title} close={close}>
      <p>{asked.says}</p>
      <form method="dialog" class="buttons">
        <button>{text.cancel}</button>
        <button class="strong" onClick={() => asked.run()}>{asked.yes}</button>
      </form>
    </Dialog>
  );
}
