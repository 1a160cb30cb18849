// SPDX-License-Identifier: Apache-2.0
// The part of a log that the page holds: from a byte offset on, as it grows. A line has a link by its number from that
// offset on, which stays right however the log is cut into pieces.
import { signal } from "@preact/signals";
import { call } from "../common/api.ts";
import { follow } from "../common/live.ts";
import { Lines } from "./lines.ts";

export const LOG = "training.log";

// A log up to this size is read from its beginning; of a larger one, this much of its end.
const WHOLE_BYTES = 16 * 1024 * 1024;
const END_BYTES = 4 * 1024 * 1024;

export class Tail {
  readonly lines = new Lines();
  // The byte offset at which the first line begins, or is cut; null until it is known.
  readonly from = signal<number | null>(null);
  // Grows with each change of the lines, at most once a frame.
  readonly version = signal(0);
  readonly missing = signal(0);
  private frame = 0;
  private unfollow: (() => void) | null = null;
  private closed = false;

  async open(name: string, from: number | null): Promise<void> {
    const start = from ?? (await beginning(name));
    if (this.closed) return;
    this.from.value = start;
    this.unfollow = follow("log", { log: name, offset: String(start) }, (piece) => {
      if (piece.name !== name) return;
      if (piece.missing != null) this.missing.value += piece.missing;
      this.lines.add(piece.text);
      if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
    });
  }

  close(): void {
    this.closed = true;
    this.unfollow?.();
    cancelAnimationFrame(this.frame);
  }

  private draw(): void {
    this.frame = 0;
    this.version.value += 1;
  }
}

async function beginning(name: string): Promise<number> {
  const { files } = await call("org.fluxgym.Jobs.Files", { name });
  const size = files.find((file) => file.name === LOG)?.size ?? 0;
  return size <= WHOLE_BYTES ? 0 : size - END_BYTES;
}
