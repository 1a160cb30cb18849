// SPDX-License-Identifier: Apache-2.0
// Writes src/generated/: a module of types for each interface of ours, and calls.ts with the parameters and the reply
// of every method. A page that uses a field that the daemon does not have does not compile.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Field, type Interface, type Kind, read } from "./varlink.ts";

const UI = join(import.meta.dirname, "..");
const INTERFACES = join(UI, "..", "..", "fluxgym", "interfaces");
const GENERATED = join(UI, "src", "generated");
const PLAIN: Record<string, string> = {
  bool: "boolean", int: "number", float: "number", string: "string", object: "unknown",
};

export function writeTypes(): void {
  const files = readdirSync(INTERFACES).filter((name) => name.startsWith("org.fluxgym.")).sort();
  const all = files.map((name) => read(readFileSync(join(INTERFACES, name), "utf8")));
  rmSync(GENERATED, { recursive: true, force: true });
  mkdirSync(GENERATED, { recursive: true });
  for (const one of all) writeFileSync(join(GENERATED, `${moduleOf(one)}.ts`), typesOf(one));
  writeFileSync(join(GENERATED, "calls.ts"), callsOf(all));
}

function moduleOf(one: Interface): string {
  return one.name.slice(one.name.lastIndexOf(".") + 1).toLowerCase();
}

// An enum is also a list of its values, so that a test can walk them.
export function typesOf(one: Interface): string {
  return one.types
    .map(({ name, kind }) =>
      kind.is === "enum"
        ? `export const ${name} = ${JSON.stringify(kind.values)} as const;\n` +
          `export type ${name} = (typeof ${name})[number];\n`
        : `export type ${name} = ${written(kind, "")};\n`)
    .join("");
}

export function callsOf(all: Interface[]): string {
  const imports = all.map((one) => `import type * as ${moduleOf(one)} from "./${moduleOf(one)}.ts";\n`);
  const methods = all.flatMap((one) =>
    one.methods.map(({ name, input, output }) => {
      const prefix = `${moduleOf(one)}.`;
      return `  "${one.name}.${name}": { input: ${struct(input, prefix)}; output: ${struct(output, prefix)} };\n`;
    }));
  return `${imports.join("")}\nexport type Methods = {\n${methods.join("")}};\n`;
}

function struct(fields: Field[], prefix: string): string {
  const parts = fields.map(({ name, kind }) => `${name}${kind.is === "maybe" ? "?" : ""}: ${written(kind, prefix)}`);
  return fields.length === 0 ? "Record<string, never>" : `{ ${parts.join("; ")} }`;
}

function written(kind: Kind, prefix: string): string {
  switch (kind.is) {
    case "name": return PLAIN[kind.name] ?? prefix + kind.name;
    case "maybe": return `${written(kind.of, prefix)} | null`;
    case "list": return `(${written(kind.of, prefix)})[]`;
    case "map": return `Record<string, ${written(kind.of, prefix)}>`;
    case "enum": return kind.values.map((value) => JSON.stringify(value)).join(" | ");
    case "struct": return struct(kind.fields, prefix);
  }
}

if (import.meta.main) writeTypes();
