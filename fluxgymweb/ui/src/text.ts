// SPDX-License-Identifier: Apache-2.0
// All that the page says. One group per screen; what several screens say is at the top.

function count(number: number, one: string, many: string): string {
  return `${new Intl.NumberFormat().format(number)} ${number === 1 ? one : many}`;
}

function named(names: readonly string[]): string {
  return names.length === 1 ? names.join() : count(names.length, "job", "jobs");
}

function all(names: readonly string[]): string {
  return new Intl.ListFormat("en", { type: "conjunction" }).format(names);
}

export const text = {
  product: "FluxGym",
  units: {
    bytes: ["B", "KiB", "MiB", "GiB", "TiB", "PiB"],
    second: "s", minute: "min", hour: "h", day: "d",
    secondsPerStep: "s/step", stepsPerSecond: "steps/s",
    percent: (value: number | string) => `${value}%`,
  },
  notices: "Notices",
  close: "Close",
  cancel: "Cancel",
  undo: "Undo",
  retry: "Try again",
  reload: "Reload",
  progressOf: (name: string) => `Progress of ${name}`,
  nothingHere: {
    title: "There is no such page",
    home: "Go to the jobs",
  },

  header: {
    skip: "Skip to the content",
    screens: "Screens",
    jobs: "Jobs",
    system: "System",
    help: "Keyboard and theme",
    noGpu: "no GPU reading",
    busy: "busy",
    temperature: (celsius: number) => `${celsius} °C`,
    power: (watts: string) => `${watts} W`,
    gpus: "All GPUs",
    gpu: (index: number) => `GPU ${index}`,
    paused: "Queue paused",
  },
  away: {
    server: "The web server does not answer. Your trainings go on; this page continues when it is back.",
    daemon: "Your trainings may still be running.",
    leaving: "fluxgymd is being stopped or restarted. Your trainings go on.",
    since: (time: string) => `since ${time}`,
    answer: (status: number) => `The web server gave an answer that this page does not understand (${status}).`,
    newer: "FluxGym was upgraded. Reload the page to use the new version.",
    denied: "This browser has no access any more. Run `fluxgymctl web open` and open the page again.",
  },
  help: {
    title: "Keyboard and theme",
    theme: "Theme",
    themes: { auto: "Like the system", light: "Light", dark: "Dark" },
    keys: "Keys",
    single: "Use keys without Ctrl or Alt",
    rows: [
      ["?", "this help"],
      ["g j", "jobs"],
      ["g s", "system"],
      ["/", "search in this view"],
      ["Esc", "close, or leave the search"],
    ],
  },

  ends: { completed: "✓", failed: "✕", stopped: "■" },
  states: {
    state: {
      queued: "Queued", starting: "Starting", running: "Running", stopping: "Stopping", stopped: "Stopped",
      completed: "Completed", failed: "Failed", interrupted: "Interrupted", lost: "Lost", damaged: "Damaged",
    },
    wait: {
      gpu: "waits for a GPU", start: "starts next", supervisor: "no service manager answers", held: "held",
      paused: "queue is paused", job: "waits for another job", back_off: "retries after a pause",
      slot: "waits for other programs", home: "another daemon may own the home",
    },
    phase: {
      starting: "Starting", downloading: "Downloading", loading: "Loading the model", caching: "Encoding pictures",
      training: "Training", sampling: "Drawing samples", saving: "Saving", finishing: "Finishing",
    },
    verdict: { suspicious: "Suspicious", stuck: "Stuck" },
    with: (first: string, second: string) => `${first}, ${second.charAt(0).toLowerCase()}${second.slice(1)}`,
  },

  jobs: {
    title: "Jobs",
    loading: "Loading…",
    search: "Search names, groups, tags and notes",
    columns: { name: "Name", state: "State", progress: "Progress", time: "Time" },
    classes: { active: "Running", waiting: "Waiting", ended: "Ended", trouble: "Needs a look" },
    group: "Group",
    anyGroup: "All groups",
    tags: "Tags",
    counted: (value: string, number: number) => `${value} (${number})`,
    clear: "Clear the filter",
    noneFits: "No job fits this filter.",
    older: "Show older jobs",
    more: (number: number) => `Show more (${number})`,
    choose: (name: string) => `Choose ${name}`,
    chooseAll: "Choose all that are shown",
    steps: (done: string, total: string) => `step ${done} of ${total}`,
    items: (done: string, total: string) => `${done} of ${total}`,
    started: (age: string) => `started ${age} ago`,
    left: (time: string) => `${time} left`,
    doneAt: (time: string) => `done ≈ ${time}`,
    notBefore: (time: string) => `not before ${time}`,
    place: (number: number) => `place ${number} in the queue`,
    ago: (age: string) => `${age} ago`,

    withChosen: "With the chosen jobs",
    chosen: (number: number) => `${number} chosen`,
    untick: "Choose none",
    tickShown: (number: number) => `Choose all ${number}`,
    slow: (present: string, usual: string) => `Slower than usual: ${present} instead of ${usual}.`,
    verbs: { stop: "Stop", hold: "Hold", release: "Release", move: "Move", remove: "Remove" },
    did: {
      stop: (names: string[]) => `${named(names)} will be stopped.`,
      hold: (names: string[]) => `${named(names)} will not start until you release ${names.length === 1 ? "it" : "them"}.`,
      release: (names: string[]) => `${named(names)} can start.`,
      move: (names: string[]) => `${named(names)} moved.`,
      remove: (names: string[]) => `${named(names)} removed.`,
    },
    restored: (names: string[]) => `${named(names)} restored.`,
    stopTitle: (names: string[]) => `Stop ${named(names)}?`,
    stopSays: (running: number, waiting: number) => [
      running > 0 && "A running training saves first, and can be resumed.",
      waiting > 0 && "A waiting job leaves the queue.",
    ].filter(Boolean).join(" "),
    moveTitle: (names: string[]) => `Move ${named(names)}`,
    moveWhere: "To",
    moveFront: "the front of the queue",
    moveBefore: (name: string) => `right before ${name}`,

    away: {
      title: (time: string) => `While you were away (${time})`,
      incomplete: "Not everything that happened can be told, since jobs were removed or restored.",
      counts: {
        completed: (number: number) => `${number} completed`,
        failed: (number: number) => `${number} failed`,
        stopped: (number: number) => `${number} stopped`,
        cancelled: (number: number) => `${number} cancelled`,
        restarted: (number: number) => count(number, "automatic restart", "automatic restarts"),
        submitted: (number: number) => `${number} submitted`,
      } as Partial<Record<string, (number: number) => string>>,
      running: (name: string, done: number | null) => (done === null ? `${name} runs` : `${name} is at ${done}%`),
      list: (parts: string[]) => `${parts.join(", ")}.`,
      verdict: (names: string[]) =>
        names.length === 0 ? "Nothing needs you." : `${all(names)} ${names.length === 1 ? "needs" : "need"} a look.`,
      seen: "Got it",
    },

    empty: {
      title: "Train your first LoRA",
      how: "There is no job yet. Make a dataset of your pictures, and submit a job, in a terminal:",
      commands: [
        "fluxgymctl dataset create cat",
        "fluxgymctl dataset add cat ~/pictures/cat",
        "fluxgymctl submit my-cat --dataset cat --trigger-word c4t",
      ],
      machine: "This machine",
      checking: "Checking…",
      again: "Check again",
      outcomes: { good: "Good", warning: "Warning", problem: "Problem" },
    },
  },

  job: {
    sections: { overview: "Overview" },
    sectionsOf: (name: string) => `Sections of ${name}`,
    reason: "What is going on",
    phases: {
      starting: "The trainer is starting.",
      downloading: "The trainer fetches files of the model. The training begins when all are here.",
      loading: "The model is being loaded. This takes a few minutes, in which the GPU has nothing to do.",
      caching: "Pictures and captions are encoded, once, before the first step.",
      sampling: "Samples are being drawn. The training continues afterwards.",
      saving: "A LoRA and a checkpoint are being saved. The training continues afterwards.",
      finishing: "All steps are done. The LoRA is being finished.",
    },
    doneOf: (done: string, total: string) => `${done} of ${total} are done.`,
    epoch: (epoch: string, total: string) => [`epoch ${epoch}`, `of ${total}`] as const,
    energy: (kilowattHours: string) => `${kilowattHours} kWh`,
    restarts: (done: string, allowed: string) => `restarted ${done} of ${allowed} times`,
    ended: (time: string) => `ended ${time}`,
    about: {
      title: "About this job",
      group: "Group", tags: "Tags", dataset: "Dataset", trigger: "Trigger word", resolution: "Resolution",
      submitted: "Submitted", attempt: "Attempt", resumed: "Resumed from", lost: "Steps trained again",
      loss: "Mean loss",
      since: (number: number, time: string) => `${number}, since ${time}`,
    },
  },
};
