// SPDX-License-Identifier: Apache-2.0
// Notices at the foot of the page: what was done, with its way back, and what was refused. A notice stays while the
// pointer or the focus is in it.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { text } from "../text.ts";
import { announce } from "./announce.tsx";
import { Prose } from "./prose.tsx";

type Notice = {
  key: number;
  tone: "calm" | "bad";
  sentence: string;
  action?: { words: string; run: () => void } | undefined;
};

const STAYS_MS = 12_000;

const notices = signal<readonly Notice[]>([]);
let last = 0;

export function notify(sentence: string, action?: Notice["action"]): void {
  show({ tone: "calm", sentence, action });
}

export function complain(sentence: string): void {
  show({ tone: "bad", sentence });
}

function show(notice: Omit<Notice, "key">): void {
  notices.value = [...notices.value.filter((one) => one.sentence !== notice.sentence), { ...notice, key: ++last }];
  announce(notice.sentence);
}

function hide(key: number): void {
  notices.value = notices.value.filter((one) => one.key !== key);
}

export function Notices() {
  return (
    <section class="notices" aria-label={text.notices}>
      {notices.value.map((one) => <Card key={one.key} notice={one} />)}
    </section>
  );
}

function Card({ notice }: { notice: Notice }) {
  const card = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const used = () => card.current?.matches(":hover, :focus-within") ?? false;
    if (notice.tone === "bad") return; // stays until it is read
    const timer = setInterval(() => used() || hide(notice.key), STAYS_MS);
    return () => clearInterval(timer);
  }, [notice.key]);
  return (
    <div class={`notice ${notice.tone}`} ref={card}>
      <span><Prose says={notice.sentence} /></span>
      {notice.action && (
        <button class="quiet" onClick={() => { hide(notice.key); notice.action?.run(); }}>{notice.action.words}</button>
      )}
      <button class="quiet" onClick={() => hide(notice.key)}>{text.close}</button>
    </div>
  );
}
