// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { counted, filterOf, inOrder, isEmpty, shows } from "../src/jobs/filter.ts";
import { applies, Verb } from "../src/jobs/verbs.ts";
import type { State } from "../src/generated/jobs.ts";
import { job } from "./job.ts";

const cat = job("my-cat", { state: "running" }, { group: "pets", tags: ["fur", "small"], note: "of Anna" });
const dog = job("my-dog", { state: "failed" }, { group: "pets", tags: ["fur"] });
const plain = job("car", { state: "queued" });

for (const [query, names] of [
  ["", "my-cat my-dog car"],
  ["q=MY", "my-cat my-dog"],
  ["q=my+anna", "my-cat"],
  ["q=fur", "my-cat my-dog"],
  ["state=waiting", "car"],
  ["state=active&state=waiting", "my-cat car"],
  ["state=trouble", "my-dog"],
  ["state=nonsense", "my-cat my-dog car"],
  ["group=pets", "my-cat my-dog"],
  ["group=pe", ""],
  ["tag=fur&tag=small", "my-cat"],
  ["q=car&group=pets", ""],
] as const) {
  test(`?${query} shows ${names || "nothing"}`, () => {
    const filter = filterOf(new URLSearchParams(query));
    const shown = [cat, dog, plain].filter((one) => shows(filter, one)).map((one) => one.context.name);
    assert.equal(shown.join(" "), names);
    assert.equal(isEmpty(filter), query === "" || query.includes("nonsense"));
  });
}

test("a job that the watchdog suspects needs attention", () => {
  const filter = filterOf(new URLSearchParams("state=trouble"));
  const judged = (verdict: "healthy" | "suspicious") => job("a", { state: "running", watchdog: { verdict } });
  assert.deepEqual([judged("healthy"), judged("suspicious")].map((one) => shows(filter, one)), [false, true]);
});

test("running jobs come first, then the queue in its order, then the others, the newest first", () => {
  const attempt = (endedAt: number) => ({ number: 1, adapter: "", unit: "", gpus: [], startedAt: 1, endedAt });
  const order = inOrder([
    job("old", { state: "completed", attempt: attempt(50) }),
    job("second", { queuePlace: 2 }),
    job("new", { state: "failed", attempt: attempt(90) }),
    job("first", { state: "interrupted", queuePlace: 1 }),
    job("runs", { state: "running" }),
    job("nowhere", {}),
  ]);
  assert.equal(order.map((one) => one.context.name).join(" "), "runs first second nowhere new old");
});

test("values are counted in the order of the alphabet", () => {
  assert.deepEqual(counted(["b", "a", "b"]), [["a", 1], ["b", 2]]);
});

test("several jobs can be stopped, held, released, moved and removed when each of them can", () => {
  const can = (state: State) => Verb.filter((verb) => applies(verb, job("a", { state })));
  assert.deepEqual(can("queued"), ["stop", "hold", "move"]);
  assert.deepEqual(can("completed"), ["remove"]);
  assert.deepEqual(can("damaged"), []);
});

test("a held job can be released and not held", () => {
  const held = job("a", { waitingFor: "held" });
  assert.deepEqual(Verb.filter((verb) => applies(verb, held)), ["stop", "release", "move"]);
});
