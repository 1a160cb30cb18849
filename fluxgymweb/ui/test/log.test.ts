// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { pieces, plain } from "../src/job/ansi.ts";
import { lineAt, Lines, rowsOf } from "../src/job/lines.ts";

function shown(lines: Lines): string[] {
  return Array.from({ length: lines.length }, (_, place) => lines.at(place));
}

for (const [texts, expected] of [
  [["a\nb\n"], ["a", "b"]],
  [["a", "b\nc"], ["ab", "c"]],
  [["10%", "\r20%"], ["20%"]],
  [["10%\r", "20%\r", "30%\n", "end\n"], ["30%", "end"]],
  [["10%\r"], ["10%"]],
  [["10%\r", "\n"], ["10%"]],
  [["\r20%\nnext"], ["20%", "next"]],
  [["", "a\n", ""], ["a"]],
  [["a\n\nb\n"], ["a", "", "b"]],
] as const) {
  test(`the pieces ${JSON.stringify(texts)} are the lines ${JSON.stringify(expected)}`, () => {
    const lines = new Lines();
    for (const text of texts) lines.add(text);
    assert.deepEqual(shown(lines), expected);
  });
}

test("only the newest lines stay, and the others are counted", () => {
  const lines = new Lines(100);
  for (let number = 0; number < 1000; number += 1) lines.add(`${number}\n`);
  assert.ok(lines.length >= 100 && lines.length <= 125);
  assert.equal(lines.dropped + lines.length, 1000);
  assert.equal(lines.at(lines.length - 1), "999");
  assert.equal(lines.at(0), String(lines.dropped));
});

test("a wrapped line takes as many rows as it needs, and each row belongs to its line", () => {
  const lines = new Lines();
  lines.add(`${"x".repeat(25)}\n\nshort\n`);
  const starts = rowsOf(lines, 10);
  assert.deepEqual([...starts], [0, 3, 4, 5]);
  assert.deepEqual([0, 2, 3, 4].map((row) => lineAt(starts, row)), [0, 0, 1, 2]);
  assert.deepEqual([...rowsOf(lines, null)], [0, 1, 2, 3]);
});

for (const [line, expected] of [
  ["plain", [["plain", ""]]],
  ["\x1b[31mred\x1b[0m no", [["red", "ansi-red"], [" no", ""]]],
  ["\x1b[1;92mbold\x1b[22m green", [["bold", "ansi-green ansi-bold"], [" green", "ansi-green"]]],
  ["\x1b[38;5;1mred\x1b[38;2;1;2;31mno\x1b[m", [["red", "ansi-red"], ["no", ""]]],
  ["\x1b[48;5;31mback\x1b[K", [["back", ""]]],
  ["\x1b]0;title\x07text\x1b[2Jmore", [["text", ""], ["more", ""]]],
  ["\x1b[4;2m<b>\x1b[24;39m", [["<b>", "ansi-dim ansi-underlined"]]],
] as const) {
  test(`the escapes of ${JSON.stringify(line)} become classes`, () => {
    assert.deepEqual(pieces(line).map(({ text, classes }) => [text, classes]), expected);
    assert.equal(plain(line), expected.map(([text]) => text).join(""));
  });
}
