// SPDX-License-Identifier: Apache-2.0
// node build/page.ts FOLDER: builds the page into a new folder. The name of a script contains a hash of its content, so
// browsers may keep it for ever.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";
import { writeTypes } from "./types.ts";

const UI = join(import.meta.dirname, "..");

// uPlot can also draw bars, steps and curves. The chart draws straight lines, so the script leaves out the others.
const onlyStraightLines: Plugin = {
  name: "only-straight-lines",
  setup({ onLoad }) {
    onLoad({ filter: /uPlot\.esm\.js$/ }, ({ path }) => {
      let contents = readFileSync(path, "utf8");
      for (const kind of ["stepped", "bars", "spline"]) {
        const without = contents.replace(new RegExp(`^\\s*\\(paths\\.${kind}\\s*=.*\\);$`, "m"), "");
        if (without === contents) throw new Error(`uPlot has no ${kind} to leave out`);
        contents = without;
      }
      return { contents };
    });
  },
};

async function main(folder: string): Promise<void> {
  writeTypes();
  mkdirSync(folder, { recursive: true });
  const options = {
    absWorkingDir: UI,
    entryNames: "assets/[name]-[hash]",
    chunkNames: "assets/[name]-[hash]",
    outdir: folder,
    bundle: true,
    minify: true,
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    plugins: [onlyStraightLines],
    legalComments: "none",
    charset: "utf8",
    metafile: true,
    logLevel: "warning",
  } satisfies BuildOptions;
  // What `import()` names becomes a script of its own. What is in the HTML cannot share any of it.
  const page = await build({ ...options, entryPoints: { page: "src/main.tsx" }, format: "esm", splitting: true });
  const inline = await build({ ...options, entryPoints: { theme: "src/theme.ts", style: "src/style.css" }, format: "iife" });
  writeFileSync(join(folder, "index.html"), indexWith({ ...page.metafile.outputs, ...inline.metafile.outputs }));
  writeFileSync(join(folder, "THIRD_PARTY.txt"), notices(page.metafile.outputs));
}

const INLINE = ["theme.js", "style.css"];

// index.html with the address of the page's script, and with style and theme themselves.
function indexWith(outputs: Metafile["outputs"]): string {
  const built = new Map(
    Object.keys(outputs).map((output) => [basename(output).replace(/-[^-]*\./, "."), join(UI, output)]),
  );
  const html = readFileSync(join(UI, "src", "index.html"), "utf8");
  return html.replace(/\{([a-z]+\.[a-z]+)\}/g, (_, name: string) => {
    const file = built.get(name);
    if (file === undefined) throw new Error(`index.html names ${name}, which was not built`);
    if (!INLINE.includes(name)) return `/assets/${basename(file)}`;
    const content = readFileSync(file, "utf8").trim();
    rmSync(file);
    return content;
  });
}

// The licences of the packages that are in the script: they want their notice in every copy.
function notices(outputs: Metafile["outputs"]): string {
  const packages = new Set<string>();
  for (const output of Object.values(outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
      if (found?.[1] !== undefined && bytesInOutput > 0) packages.add(found[1]);
    }
  }
  return [...packages].sort().map((name) => {
    const at = join(UI, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(at, "package.json"), "utf8"));
    return `${name} ${version} (${license})\n\n${readFileSync(join(at, "LICENSE"), "utf8").trim()}\n`;
  }).join(`\n${"-".repeat(78)}\n\n`);
}

const folder = process.argv[2];
if (folder === undefined) throw new Error("the folder to build into is missing");
await main(folder);
