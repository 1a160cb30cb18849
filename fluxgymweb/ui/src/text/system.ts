// SPDX-License-Identifier: Apache-2.0
// What the System screen says.
import type { DiskUseKind, Linger, SleepInhibitor, Supervisor } from "../generated/machine.ts";
import { count, named } from "./words.ts";

export const system = {
  title: "System",
  loading: "Loading…",
  fine: "The daemon reports no problems.",
  degraded: "What does not work",

  queue: {
    title: "Queue",
    open: "The queue is open.",
    paused: "The queue is paused: no jobs start until you continue it.",
    counts: (running: number, waiting: number) =>
      `${count(running, "job runs", "jobs run")}, and ${count(waiting, "job waits", "jobs wait")}.`,
    pause: "Pause the queue",
    pauseSays: "Running jobs continue.",
    continue: "Continue the queue",
  },

  gpus: {
    title: "GPUs",
    none: "The daemon found no GPUs.",
    heading: (index: number, name: string) => `${index}: ${name}`,
    usedBy: "Used by",
    free: "No job uses it.",
    quarantined: "Quarantined: no job can use this GPU.",
    end: "End the quarantine",
    ended: (index: number) => `Jobs can use GPU ${index} again.`,
    rows: { utilization: "Busy", memoryUsed: "Memory", temperature: "Temperature", powerDraw: "Power" },
    of: (value: string, most: string) => `${value} of ${most}`,
    between: (low: string, high: string) => `${low} to ${high}`,
    hour: (what: string, present: string, low: string, high: string) =>
      `${what}: now ${present}; in the last hour between ${low} and ${high}.`,
    noHour: (what: string, present: string) => `${what}: now ${present}; no readings in the last hour.`,
    gaps: "The last hour. The line has gaps where no job ran and nobody watched.",
  },

  disks: {
    title: "Disks",
    unmeasured: "Being measured…",
    room: (free: string, total: string) => `${free} of ${total} free.`,
    columns: { what: "What", size: "Size", share: "Share", remedy: "Free space" },
    kinds: {
      states: "States, to resume from", loras: "LoRAs", samples: "Samples", pictures: "Pictures", caches: "Caches",
      models: "Models", logs: "Logs", trash: "Trash", evidence: "Evidence of hangs", other: "Other files of FluxGym",
      foreign: "Everything else", free: "Free",
    } satisfies Record<DiskUseKind | "foreign" | "free", string>,
    uses: (path: string) => `What fills the disk of ${path}`,
    measured: (time: string) => `Measured at ${time}.`,
    measure: "Measure now",
    unanswered: (paths: string) => `These folders did not answer and are not counted: ${paths}.`,
    freeStates: (size: string) => `Free ${size} from states…`,
    toTrash: "Go to the trash",
  },

  freeing: {
    title: "Free space used by states",
    says: "A job needs a state to resume or to train more epochs. LoRAs and samples are kept. Deleted states "
      + "cannot be restored.",
    keep: "For each job, keep",
    keeps: ["no state", "the newest state"],
    columns: { job: "Job", states: "States", frees: "Frees" },
    choose: (name: string) => `Delete states of ${name}`,
    none: "No job has states on this disk.",
    nothing: "nothing",
    running: "It is running; stop it first.",
    waiting: "It is waiting, and will resume from its newest state.",
    damaged: "Its record is damaged.",
    free: (size: string) => `Free ${size}`,
    freeNothing: "Free nothing",
    freed: (size: string, states: number, jobs: string[]) =>
      `Freed ${size}: deleted ${count(states, "state", "states")} of ${named(jobs)}.`,
  },

  trash: {
    title: "Trash",
    empty: "The trash is empty.",
    says: "Removed jobs. They are deleted when their time is up, or earlier if the disk runs low.",
    when: (removed: string, deleted: string) => `removed ${removed}, deleted after ${deleted}`,
    restore: "Restore",
    restoreIt: (name: string) => `Restore ${name}`,
    delete: "Delete",
    deleteIt: (name: string) => `Delete ${name} for good`,
    deleteSays: "Its LoRAs, states, samples and logs cannot be restored.",
    deleted: (names: string[]) => `${named(names)} deleted.`,
    emptyIt: (size: string) => `Empty the trash (${size})`,
    emptyTitle: (number: number) => `Delete ${count(number, "removed job", "removed jobs")} for good?`,
    emptySays: "Their LoRAs, states, samples and logs cannot be restored.",
  },

  settings: {
    title: "Settings",
    says: "Settings cannot be changed on this page. They are in `fluxgym/config.toml`, in `$XDG_CONFIG_HOME` or "
      + "`~/.config`; each can also be set by an environment variable. A change takes effect when the daemon restarts: `fluxgymctl daemon restart`.",
    search: "Search settings",
    changed: "Only changed settings",
    none: "No setting matches this filter.",
    general: "general",
    columns: { key: "Setting", value: "Value" },
    source: (source: string) => (source === "default" ? "the default" : `from ${source}`),
    default: (value: string) => `instead of ${value}`,
  },

  hooks: {
    title: "Hooks",
    says: "FluxGym calls a hook when something happens to a job. Hooks cannot be set on this page: add them below `[hooks]` "
      + "in `config.toml`.",
    events: { stuck: "A job is stuck", finish: "A job is completed", fail: "A job fails", lost: "A job is lost" },
    unset: "not set",
    test: "Test",
    testOne: (event: string) => `Test the hook for: ${event}`,
    good: (seconds: string) => `It worked, in ${seconds}.`,
    bad: (problem: string) => `It failed: ${problem}.`,
    status: (status: number) => `Exit status ${status}.`,
    wrote: "Output",
  },

  daemon: {
    title: "Daemon",
    version: "Daemon",
    server: "Web server",
    up: "Running for",
    upSince: (time: string, since: string) => `${time}, since ${since}`,
    home: "Home",
    socket: "Socket",
    pid: "Process",
    supervisor: "Runs jobs as",
    supervisors: { scope: "systemd scopes", process: "plain processes" } satisfies Record<Supervisor, string>,
    linger: "Linger",
    lingers: {
      enabled: "On: jobs continue after the last logout.",
      disabled: "Off: jobs end at the last logout. Turn it on with `loginctl enable-linger`.",
      unknown: "Unknown.",
    } satisfies Record<Linger, string>,
    lingerOfProcesses: "Off, which does not affect jobs that are plain processes.",
    sleep: "Sleep",
    sleeps: {
      held: "Inhibited: the machine stays awake.",
      not_needed: "Not inhibited: no job holds a GPU.",
      refused: "The inhibitor was refused: the machine may go to sleep while a job runs.",
      unavailable: "The inhibitor is not available.",
    } satisfies Record<SleepInhibitor, string>,
    late: "Longest delay",
  },
};
