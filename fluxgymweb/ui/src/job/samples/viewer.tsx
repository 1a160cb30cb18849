// SPDX-License-Identifier: Apache-2.0
// One sample large, or two to compare. The URL says which: the prompt, the moment, and the moment to compare with.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { sentence } from "../../common/api.ts";
import { Dialog } from "../../common/dialog.tsx";
import { keysAreOn } from "../../common/keys.ts";
import { complain } from "../../common/notices.tsx";
import { parameters, set } from "../../common/route.ts";
import { text } from "../../text.ts";
import { pictureOf } from "./drawn.ts";
import { type Grid, moved, type Move, type Moment, type Place, swipe } from "./grid.ts";
import { momentWords } from "./moment.ts";

const says = text.job.samples;

const KEYS: Record<string, Move> = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last",
};

const PLAY_MS = 800;

// `mark`: what marks the LoRA of a moment as the best, or takes the mark away; null if there is no LoRA.
type ViewerProps = { job: string; grid: Grid; mark: (moment: Moment) => (() => Promise<void>) | null };

export function Viewer({ job, grid, mark }: ViewerProps) {
  const row = grid.rows.findIndex(({ number }) => String(number) === parameters.value.get("prompt"));
  const column = grid.moments.findIndex(({ id }) => id === parameters.value.get("at"));
  if (row === -1 || column === -1) return null;
  const prompt = grid.rows[row]?.prompt ?? says.prompt(row + 1);
  return (
    <Dialog title={prompt} close={() => set({ prompt: [], at: [], with: [], wipe: [] })}>
      <Shown job={job} grid={grid} mark={mark} place={{ row, column }} prompt={prompt} />
    </Dialog>
  );
}

type ShownProps = ViewerProps & { place: Place; prompt: string };

function Shown({ job, grid: { rows, moments }, mark, place, prompt }: ShownProps) {
  const flipped = useSignal(false);
  const down = useRef<[number, number] | null>(null);
  const first = moments[place.column] as Moment;
  const second = moments.find(({ id }) => id === parameters.value.get("with") && id !== first.id);
  const playing = useSignal(false);
  const wiping = parameters.value.has("wipe");
  const move = (to: Move | null) => {
    if (to === null) return;
    const { row, column } = moved(place, to, rows.length, moments.length);
    set({ prompt: [String(rows[row]?.number)], at: [moments[column]?.id ?? ""] }, { replace: true });
  };
  const compare = (id: string) => set({ with: [id] }, { replace: true });
  const letters: Record<string, () => void> = {
    a: () => compare(first.id),
    c: () => compare(second !== undefined ? "" : moments[place.column - 1]?.id ?? ""),
    b: () => void mark(first)?.().catch((problem: unknown) => complain(sentence(problem))),
  };
  useEffect(() => {
    if (!playing.value) return;
    const timer = setTimeout(() => move(place.column === moments.length - 1 ? "first" : "right"), PLAY_MS);
    return () => clearTimeout(timer);
  });
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.target instanceof Element && event.target.matches("input, select")) return;
      const plain = keysAreOn() && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (plain) letters[event.key]?.();
      const to = KEYS[event.key];
      const flips = event.key === " " && second !== undefined && !(event.target as Element).matches("button");
      if (to === undefined && !flips) return;
      event.preventDefault();
      if (flips) flipped.value = !flipped.value;
      else move(to ?? null);
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
  const number = rows[place.row]?.number ?? 0;
  const sample = first.samples.get(number);
  const picture = (moment: Moment) => {
    const found = moment.samples.get(number);
    if (found === undefined) return <p class="muted">{says.missing(momentWords(moment))}</p>;
    return <img src={pictureOf(job, found.file)} alt={says.pictureOf(prompt, momentWords(moment))} draggable={false} />;
  };
  const [one, other] = second !== undefined && flipped.value ? [second, first] : [first, second];
  return (
    <div class="viewer">
      <div class="stage" tabIndex={0} autofocus role="group" aria-label={says.viewer}
        onPointerDown={(event) => { down.current = [event.clientX, event.clientY]; }}
        onPointerUp={(event) => {
          if (down.current !== null && !wiping) move(swipe(event.clientX - down.current[0], event.clientY - down.current[1]));
          down.current = null;
        }}>
        {other !== undefined && wiping
          ? <Wipe under={picture(one)} over={picture(other)} words={[momentWords(one), momentWords(other)]} />
          : [one, ...(other === undefined ? [] : [other])].map((moment) => (
            <figure key={moment.id}>{picture(moment)}<figcaption>{momentWords(moment)}</figcaption></figure>
          ))}
      </div>
      {sample !== undefined && (
        <p class="facts">
          {sample.seed != null && <span>{says.seed(sample.seed)}</span>}
          {sample.step != null && <span>{says.step(String(sample.step))}</span>}
          <a href={pictureOf(job, sample.file)} download>{says.download}</a>
        </p>
      )}
      <div class="controls">
        <button disabled={place.column === 0} onClick={() => move("left")}>{says.before}</button>
        <button disabled={place.column === moments.length - 1} onClick={() => move("right")}>{says.after}</button>
        {moments.length > 1 && (
          <button class="chip" aria-pressed={playing.value} onClick={() => { playing.value = !playing.value; }}>{says.play}</button>
        )}
        <label>
          {says.compare}
          <select value={second?.id ?? ""} onChange={(event) => compare(event.currentTarget.value)}>
            <option value="">{says.nothing}</option>
            {moments.filter((moment) => moment !== first).map((moment) => (
              <option key={moment.id} value={moment.id}>{momentWords(moment)}</option>
            ))}
          </select>
        </label>
        {second !== undefined && (
          <>
            <button class="chip" aria-pressed={wiping} onClick={() => set({ wipe: wiping ? [] : ["1"] }, { replace: true })}>{says.wipe}</button>
            <button class="chip" aria-pressed={flipped.value} onClick={() => { flipped.value = !flipped.value; }}>{says.flip}</button>
          </>
        )}
        <form method="dialog"><button>{text.close}</button></form>
      </div>
    </div>
  );
}

type WipeProps = { under: ComponentChildren; over: ComponentChildren; words: [string, string] };

function Wipe({ under, over, words }: WipeProps) {
  const share = useSignal(50);
  return (
    <figure class="wipe">
      <div class="both" style={{ "--share": `${share.value}%` }}>{under}<div>{over}</div></div>
      <input type="range" min="0" max="100" value={share.value} aria-label={says.wipeOf(...words)}
        onInput={(event) => { share.value = Number(event.currentTarget.value); }} />
      <figcaption>{says.wipeOf(...words)}</figcaption>
    </figure>
  );
}
