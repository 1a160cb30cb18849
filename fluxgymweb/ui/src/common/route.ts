// SPDX-License-Identifier: Apache-2.0
// The URL is the state of the view: a path for the screen, and parameters for what is filtered or chosen in it.
import { computed, signal } from "@preact/signals";
import { at, within } from "./root.ts";

const here = signal(new URL(window.location.href));

export const path = computed(() => within(here.value.pathname));
// The name of the job that the screen shows; null on screens of several.
export const viewedJob = computed(() => {
  const name = /^\/jobs\/([^/]+)/.exec(path.value)?.[1];
  return name === undefined ? null : decodeURIComponent(name);
});
export const parameters = computed(() => here.value.searchParams);

window.addEventListener("popstate", () => {
  here.value = new URL(window.location.href);
});

// `replace`: the change is not worth a step of the Back button.
export function go(to: string, { replace = false } = {}): void {
  const url = new URL(to, here.value);
  if (url.href === here.value.href) return;
  const moved = url.pathname !== here.value.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  here.value = url;
  if (!moved) return;
  window.scrollTo(0, 0);
  document.getElementById("main")?.focus(); // so that a screen reader begins with the new screen
}

// Changes parameters of this screen; an empty list of values removes one.
export function set(changes: Record<string, readonly string[]>, options: { replace?: boolean } = {}): void {
  go(hrefWith(changes), options);
}

export function hrefWith(changes: Record<string, readonly string[]>): string {
  const url = new URL(here.value);
  for (const [name, values] of Object.entries(changes)) {
    url.searchParams.delete(name);
    for (const value of values) if (value !== "") url.searchParams.append(name, value);
  }
  return url.pathname + url.search + url.hash;
}

// Links are plain links; a click on one of ours changes the screen instead of loading the page again.
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const plain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (link === null || !plain || event.defaultPrevented || link.target !== "" || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== window.location.origin || url.pathname.startsWith(at("/api/"))) return;
    if (url.hash !== "" && url.pathname === here.value.pathname) return; // a jump within the page
    event.preventDefault();
    go(link.href);
  });
}
