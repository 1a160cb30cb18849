// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Checkpoint } from "../src/generated/jobs.ts";
import { State } from "../src/generated/jobs.ts";
import type { Setting } from "../src/generated/machine.ts";
import { obstacle, partsOf, surplus } from "../src/system/disk.ts";
import { linesOf, rangeOf } from "../src/system/series.ts";
import { fits, grouped } from "../src/system/setting.ts";
import { job } from "./job.ts";

test("readings that follow each other are one line, and a gap is not bridged", () => {
  assert.deepEqual(linesOf([0, 10, 1800, 3600], [0, 50, 100, 200], 100, 3600), [
    "0.00,30.00 0.28,15.00", "50.00,0.00 50.00,0.00", "100.00,0.00 100.00,0.00",
  ]);
});

test("what is older than an hour or was not reported is not drawn", () => {
  assert.deepEqual(linesOf([0, 100, 110], [1, null, null], 100, 3601), []);
});

test("the range of readings leaves out what was not reported", () => {
  assert.deepEqual(rangeOf([3, null, 0, 7]), [0, 7]);
  assert.equal(rangeOf([null]), null);
});

test("the parts of a disk make up all of it, the largest use first", () => {
  const uses = [{ what: "logs", size: 1 }, { what: "states", size: 20 }, { what: "trash", size: 0 }] as const;
  assert.deepEqual(partsOf({ path: "/", total: 100, free: 30, uses: [...uses] }), [
    { what: "states", size: 20 }, { what: "logs", size: 1 }, { what: "foreign", size: 49 }, { what: "free", size: 30 },
  ]);
});

function checkpoint(name: string, rest: Partial<Checkpoint>): Checkpoint {
  return { name, path: `/${name}`, complete: true, size: 1, createdAt: 0, ...rest };
}

const STATES = [
  checkpoint("early", { epoch: 2, step: 20 }),
  checkpoint("late", { epoch: 10, step: 100 }),
  checkpoint("middle", { epoch: 10, step: 99 }),
  checkpoint("broken", { epoch: 11, complete: false }),
  checkpoint("undated", {}),
];

for (const [keep, names] of [[0, "late middle early"], [1, "middle early"], [3, ""]] as const) {
  test(`of which keep ${keep}, these states go: ${names || "none"}`, () => {
    assert.equal(surplus(STATES, keep).map(({ name }) => name).join(" "), names);
  });
}

test("states of a job that runs or may run stay, and one that waits keeps one", () => {
  const told = (keep: number) =>
    Object.fromEntries(State.map((state) => [state, obstacle(job("a", { state }), keep)]).filter(([, why]) => why !== null));
  const always = { starting: "running", running: "running", stopping: "running", lost: "running", damaged: "damaged" };
  assert.deepEqual(told(1), always);
  assert.deepEqual(told(0), { ...always, queued: "waiting", interrupted: "waiting" });
  assert.equal(obstacle(undefined, 0), null);
});

function setting(key: string, value: string, about: string): Setting {
  return { key, value, default: "1", source: "default", variable: `FLUXGYM_${key.toUpperCase()}`, about };
}

const SETTINGS = [setting("home", "1", "the folder"), setting("log.limit", "2", "how much"), setting("log.keep", "1", "")];

for (const [words, changed, keys] of [
  ["", false, "home log.limit log.keep"],
  ["", true, "log.limit"],
  ["LOG how", false, "log.limit"],
  ["fluxgym_home", false, "home"],
  ["folder", true, ""],
] as const) {
  test(`the filter "${words}"${changed ? " of changed settings" : ""} shows ${keys || "none"}`, () => {
    assert.equal(SETTINGS.filter((one) => fits(one, words, changed)).map(({ key }) => key).join(" "), keys);
  });
}

test("settings are grouped by their table", () => {
  const groups = grouped(SETTINGS).map(([group, settings]) => [group, settings.length]);
  assert.deepEqual(groups, [["", 1], ["log", 2]]);
});
