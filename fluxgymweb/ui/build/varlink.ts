// SPDX-License-Identifier: Apache-2.0
// Reads a .varlink file: its types, methods and errors.

export type Kind =
  | { is: "name"; name: string }
  | { is: "list" | "map" | "maybe"; of: Kind }
  | { is: "struct"; fields: Field[] }
  | { is: "enum"; values: string[] };

export type Field = { name: string; kind: Kind };

export type Interface = {
  name: string;
  types: { name: string; kind: Kind }[];
  methods: { name: string; input: Field[]; output: Field[] }[];
  errors: { name: string; fields: Field[] }[];
};

const TOKEN = /\[string\]|\[\]|->|[?(),:]|[A-Za-z][A-Za-z0-9_.-]*/y;

export function read(text: string): Interface {
  const words = tokens(text.replace(/#.*$/gm, ""));
  const found: Interface = { name: "", types: [], methods: [], errors: [] };
  while (words.length > 0) {
    const word = words.shift();
    const name = take(words);
    if (word === "interface") found.name = name;
    else if (word === "type") found.types.push({ name, kind: kind(words) });
    else if (word === "error") found.errors.push({ name, fields: fields(words) });
    else if (word === "method") {
      const input = fields(words);
      expect(words, "->");
      found.methods.push({ name, input, output: fields(words) });
    } else throw new Error(`${word} ${name}: a type, method or error is expected`);
  }
  return found;
}

function tokens(text: string): string[] {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; ; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at + (text.slice(at).match(/^\s*/)?.[0].length ?? 0);
    if (TOKEN.lastIndex >= text.length) return found;
    const where = TOKEN.lastIndex;
    const matched = TOKEN.exec(text);
    if (matched === null) throw new Error(`not varlink: ${text.slice(where, where + 30)}`);
    found.push(matched[0]);
  }
}

function take(words: string[]): string {
  const word = words.shift();
  if (word === undefined) throw new Error("the file ends too early");
  return word;
}

function expect(words: string[], wanted: string): void {
  const word = take(words);
  if (word !== wanted) throw new Error(`${wanted} is expected, not ${word}`);
}

function kind(words: string[]): Kind {
  const word = words[0];
  if (word === "?" || word === "[]" || word === "[string]") {
    words.shift();
    return { is: word === "?" ? "maybe" : word === "[]" ? "list" : "map", of: kind(words) };
  }
  if (word !== "(") return { is: "name", name: take(words) };
  // An enum has names alone, a struct has a type after each.
  return words[2] === ":" || words[1] === ")" ? { is: "struct", fields: fields(words) } : values(words);
}

function values(words: string[]): Kind {
  expect(words, "(");
  const found = [take(words)];
  for (let word = take(words); word === ","; word = take(words)) found.push(take(words));
  return { is: "enum", values: found };
}

function fields(words: string[]): Field[] {
  expect(words, "(");
  const found: Field[] = [];
  while (words[0] !== ")") {
    if (found.length > 0) expect(words, ",");
    const name = take(words);
    expect(words, ":");
    found.push({ name, kind: kind(words) });
  }
  words.shift();
  return found;
}
