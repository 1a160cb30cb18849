// SPDX-License-Identifier: Apache-2.0
// The page: header, the screen that the URL names, and what lies above every screen.
import { render } from "preact";
import { LiveRegion } from "./common/announce.tsx";
import { watchAway } from "./common/away.ts";
import { Confirmation } from "./common/dialog.tsx";
import { showInTab } from "./common/favicon.ts";
import { Header } from "./common/header.tsx";
import { Help } from "./common/help.tsx";
import { listenForKeys } from "./common/keys.ts";
import { begin, outage } from "./common/live.ts";
import { Notices } from "./common/notices.tsx";
import { followLinks, path } from "./common/route.ts";
import { screenAt } from "./screens.tsx";

function Page() {
  return (
    <>
      <Header />
      <main id="main" tabIndex={-1} class={outage.value === null ? undefined : "stale"}>{screenAt(path.value)}</main>
      <Help />
      <Confirmation />
      <Notices />
      <LiveRegion />
    </>
  );
}

const place = document.getElementById("page");
if (place === null) throw new Error("the page has no place");
followLinks();
begin();
// The header of the HTML is drawn before this takes the main thread, while the server answers. A hidden page draws
// nothing.
if (document.hidden) start(place);
else requestAnimationFrame(() => setTimeout(start, 0, place));

function start(place: HTMLElement): void {
  listenForKeys();
  watchAway();
  showInTab();
  render(<Page />, place);
}
