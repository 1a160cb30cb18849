// SPDX-License-Identifier: Apache-2.0
// The lines of a log in memory: the newest ones, and how many there were. Pieces arrive as Jobs.Logs sends them, so a
// \r is left only where a text replaces the line so far.

export const MOST_LINES = 50_000;

export class Lines {
  // Lines that were dropped because there were too many.
  dropped = 0;
  private whole: string[] = [];
  private open = "";

  private readonly most: number;

  constructor(most = MOST_LINES) {
    this.most = most;
  }

  add(text: string): void {
    const parts = text.split("\n");
    parts[0] = this.open + (parts[0] ?? "");
    this.open = parts.pop() ?? "";
    for (const part of parts) this.whole.push(lastState(part));
    // What replaces the line may still follow a \r at its end.
    this.open = lastState(this.open) + (this.open.endsWith("\r") ? "\r" : "");
    const surplus = this.whole.length - this.most;
    // A quarter at a time, since each removal from the front moves all others.
    if (surplus > this.most / 4) {
      this.whole.splice(0, surplus);
      this.dropped += surplus;
    }
  }

  get length(): number {
    return this.whole.length + (this.open === "" ? 0 : 1);
  }

  // The line at a place among those in memory, the last one as far as it has arrived.
  at(place: number): string {
    return this.whole[place] ?? lastState(this.open);
  }

  all(): string {
    return [...this.whole, lastState(this.open)].join("\n");
  }
}

function lastState(line: string): string {
  const shown = line.replace(/\r+$/, "");
  return shown.slice(shown.lastIndexOf("\r") + 1);
}

// The row at which each line begins, and at last the number of all rows. `columns`: characters in a row; null: lines
// are not wrapped.
export function rowsOf(lines: Lines, columns: number | null): Uint32Array {
  const starts = new Uint32Array(lines.length + 1);
  for (let place = 0; place < lines.length; place += 1) {
    const rows = columns === null ? 1 : Math.max(1, Math.ceil(lines.at(place).length / columns));
    starts[place + 1] = (starts[place] ?? 0) + rows;
  }
  return starts;
}

// The line that covers a row.
export function lineAt(starts: Uint32Array, row: number): number {
  let low = 0;
  let high = Math.max(0, starts.length - 2);
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] ?? 0) <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}
