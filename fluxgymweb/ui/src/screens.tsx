// SPDX-License-Identifier: Apache-2.0
// Which screen a path shows. A screen is a folder beside this file.
import type { ComponentChildren } from "preact";
import { at } from "./common/root.ts";
import { JobScreen } from "./job/screen.tsx";
import { JobsScreen } from "./jobs/screen.tsx";
import { SystemScreen } from "./system/screen.tsx";
import { text } from "./text.ts";

type Show = (...parts: string[]) => ComponentChildren;

// A part in parentheses is given to the screen, decoded.
const SCREENS: [RegExp, Show][] = [
  [/^\/$/, () => <JobsScreen />],
  [/^\/jobs\/([^/]+)$/, (name = "") => <JobScreen name={name} />],
  [/^\/jobs\/([^/]+)\/([a-z]+)$/, (name = "", section) => <JobScreen name={name} section={section} />],
  [/^\/system$/, () => <SystemScreen />],
];

export function screenAt(path: string): ComponentChildren {
  for (const [pattern, show] of SCREENS) {
    const found = pattern.exec(path);
    if (found !== null) return show(...found.slice(1).map((part) => decodeURIComponent(part ?? "")));
  }
  return (
    <section class="panel">
      <h1>{text.nothingHere.title}</h1>
      <p><a href={at("/")}>{text.nothingHere.home}</a></p>
    </section>
  );
}
