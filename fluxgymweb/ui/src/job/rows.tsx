// SPDX-License-Identifier: Apache-2.0
// The lines of a log, of which only the visible ones are in the document. Each row has the same height, so a line's
// place follows from the rows before it.
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { announce } from "../common/announce.tsx";
import { hrefWith } from "../common/route.ts";
import { log as says } from "../text/job.ts";
import { pieces, plain } from "./ansi.ts";
import { lineAt, rowsOf } from "./lines.ts";
import type { Tail } from "./tail.ts";

const ROW = 20; // pixels, as in the style sheet
const MORE = 10; // rows above and below the visible ones

type RowsProps = {
  tail: Tail; following: Signal<boolean>; wraps: boolean; marked: number | null; mark: (line: number) => void;
};

export function Rows({ tail, following, wraps, marked, mark }: RowsProps) {
  const box = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLSpanElement>(null);
  const top = useSignal(0);
  const high = useSignal(0);
  const columns = useSignal<number | null>(null);
  // `left`: how many lines there were when the end was left; null if it was not reached yet.
  const state = useRef({ dropped: 0, shown: null as number | null, left: null as number | null });
  void tail.version.value;
  const { lines } = tail;
  const starts = rowsOf(lines, wraps ? columns.value : null);
  const rows = starts.at(-1) ?? 0;
  const total = lines.dropped + lines.length;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = () => {
      high.value = element.clientHeight;
      const width = probe.current?.getBoundingClientRect().width ?? 0;
      const gutter = Number.parseFloat(getComputedStyle(element).getPropertyValue("--gutter")) || 0;
      if (width > 0) columns.value = Math.max(10, Math.floor((element.clientWidth - gutter) / (width / 10)));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const dropped = lines.dropped - state.current.dropped;
    state.current.dropped = lines.dropped;
    if (following.value) {
      element.scrollTop = element.scrollHeight;
      if (total > 0) state.current.left = total;
    } else if (dropped > 0) element.scrollTop -= dropped * ROW; // about where it was
    const place = marked === null ? -1 : marked - 1 - lines.dropped;
    if (marked !== state.current.shown && place >= 0 && place < lines.length) {
      state.current.shown = marked;
      element.scrollTop = (starts[place] ?? 0) * ROW - element.clientHeight / 3;
      announce(plain(lines.at(place)));
    }
  });

  const scrolled = () => {
    const element = box.current;
    if (element === null) return;
    top.value = element.scrollTop;
    const isAtEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - ROW;
    if (isAtEnd === following.value) return;
    following.value = isAtEnd;
  };
  const first = lineAt(starts, Math.max(0, Math.floor(top.value / ROW) - MORE));
  const last = Math.min(lines.length, lineAt(starts, Math.ceil((top.value + high.value) / ROW) + MORE) + 1);
  const drawn = [];
  for (let place = first; place < last; place += 1) {
    const number = lines.dropped + place + 1;
    const from = starts[place] ?? 0;
    const style = { top: `${from * ROW}px`, height: `${((starts[place + 1] ?? 0) - from) * ROW}px` };
    drawn.push(
      <div key={number} class={number === marked ? "row marked" : "row"} style={style}>
        <a href={linkTo(tail, number)} aria-label={says.link(String(number))} tabIndex={number === marked ? 0 : -1}
          onClick={(event) => { event.preventDefault(); following.value = false; state.current.shown = number; mark(number); }}>{number}</a>
        <span>{pieces(lines.at(place)).map(({ text, classes }, part) => <span key={part} class={classes || undefined}>{text}</span>)}</span>
      </div>,
    );
  }
  const newer = Math.max(0, total - (state.current.left ?? total));
  return (
    <div class="rows">
      <div ref={box} class={wraps ? "box wraps" : "box"} tabIndex={0} role="region" aria-label={says.title} onScroll={scrolled}>
        <div style={{ height: `${rows * ROW}px` }}>{drawn}</div>
        <span ref={probe} class="probe" aria-hidden="true">0123456789</span>
        {total === 0 && tail.from.value !== null && <p class="muted">{says.empty}</p>}
      </div>
      {!following.value && (
        <button class="jump" onClick={() => { following.value = true; }}>{newer > 0 ? says.newer(newer) : says.end}</button>
      )}
      <p class="muted">{says.lines(total)}</p>
    </div>
  );
}

function linkTo(tail: Tail, line: number): string {
  return hrefWith({ line: [String(line)], from: tail.from.value ? [String(tail.from.value)] : [] });
}
