// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { callsOf, typesOf } from "../build/types.ts";
import { read } from "../build/varlink.ts";

const SMALL = `
# A comment (with: words)
interface org.example.Small
type Colour (red, green)   # two
type Point (x: int, y: ?float, tags: []string, by: [string][]Point, inner: (deep: ?[]Colour))
type Empty ()
method Draw(at: Point, colour: ?Colour) -> (drawn: bool)
method Stop() -> ()
error Broken (message: string)
`;

test("types, methods and errors are read", () => {
  const small = read(SMALL);
  assert.equal(small.name, "org.example.Small");
  assert.deepEqual(small.types.map(({ name }) => name), ["Colour", "Point", "Empty"]);
  assert.deepEqual(small.methods.map(({ name }) => name), ["Draw", "Stop"]);
  assert.deepEqual(small.errors.map(({ name }) => name), ["Broken"]);
});

test("they become types of the page", () => {
  assert.equal(
    typesOf(read(SMALL)),
    'export const Colour = ["red","green"] as const;\nexport type Colour = (typeof Colour)[number];\n' +
      "export type Point = { x: number; y?: number | null; tags: (string)[]; by: Record<string, (Point)[]>; " +
      "inner: { deep?: (Colour)[] | null } };\n" +
      "export type Empty = Record<string, never>;\n");
  assert.match(
    callsOf([read(SMALL)]),
    /"org\.example\.Small\.Draw": { input: { at: small\.Point; colour\?: small\.Colour \| null }; output: { drawn: boolean/);
});

for (const [broken, told] of [
  ["type A (x: int", /ends too early/],
  ["type A {x}", /not varlink: {x}/],
  ["word A (x: int)", /word A: a type, method or error is expected/],
  ["method A() (x: int)", /-> is expected/],
] as const) {
  test(`${broken} is refused`, () => assert.throws(() => read(broken), told));
}

test("every interface of the daemon is read to its end", () => {
  const folder = join(import.meta.dirname, "../../../fluxgym/interfaces");
  for (const name of readdirSync(folder).filter((one) => one.endsWith(".varlink"))) {
    const text = readFileSync(join(folder, name), "utf8");
    const one = read(text);
    assert.equal(`${one.name}.varlink`, name);
    assert.equal(one.methods.length, text.match(/^method /gm)?.length, name);
    assert.equal(one.types.length, text.match(/^type /gm)?.length ?? 0, name);
  }
});
