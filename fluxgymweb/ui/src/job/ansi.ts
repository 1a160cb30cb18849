// SPDX-License-Identifier: Apache-2.0
// Colours of a terminal as classes. Every other escape sequence is left out.

export type Piece = { text: string; classes: string };

// CSI sequences, OSC sequences (titles, links), and the other escapes of two characters.
const ESCAPES = /\x1b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;

type Style = { colour: string; bold: boolean; dim: boolean; underlined: boolean };

const PLAIN: Style = { colour: "", bold: false, dim: false, underlined: false };

export function pieces(line: string): Piece[] {
  if (!line.includes("\x1b")) return [{ text: line, classes: "" }];
  const found: Piece[] = [];
  let style = PLAIN;
  let from = 0;
  const take = (to: number) => {
    if (to > from) found.push({ text: line.slice(from, to), classes: classesOf(style) });
  };
  for (const escape of line.matchAll(ESCAPES)) {
    take(escape.index);
    from = escape.index + escape[0].length;
    if (escape[2] === "m") style = applied(style, (escape[1] ?? "").split(/[;:]/).map(Number));
  }
  take(line.length);
  return found;
}

export function plain(line: string): string {
  return line.replace(ESCAPES, "");
}

function applied(before: Style, codes: readonly number[]): Style {
  let style = before;
  for (let place = 0; place < codes.length; place += 1) {
    const code = codes[place] ?? 0;
    if (code === 0) style = PLAIN;
    else if (code === 1) style = { ...style, bold: true };
    else if (code === 2) style = { ...style, dim: true };
    else if (code === 4) style = { ...style, underlined: true };
    else if (code === 22) style = { ...style, bold: false, dim: false };
    else if (code === 24) style = { ...style, underlined: false };
    else if (code === 39) style = { ...style, colour: "" };
    else if (code >= 30 && code <= 37) style = { ...style, colour: COLOURS[code - 30] ?? "" };
    else if (code >= 90 && code <= 97) style = { ...style, colour: COLOURS[code - 90] ?? "" };
    else if (code === 38 || code === 48) {
      // A colour of 256, or red, green and blue: its numbers are no codes.
      const [kind, number] = [codes[place + 1], codes[place + 2] ?? 0];
      if (code === 38) style = { ...style, colour: kind === 5 && number < 16 ? (COLOURS[number % 8] ?? "") : "" };
      place += kind === 5 ? 2 : kind === 2 ? 4 : 0;
    }
  }
  return style;
}

function classesOf({ colour, bold, dim, underlined }: Style): string {
  return [colour && `ansi-${colour}`, bold && "ansi-bold", dim && "ansi-dim", underlined && "ansi-underlined"]
    .filter(Boolean).join(" ");
}
