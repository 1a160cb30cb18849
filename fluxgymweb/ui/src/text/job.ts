// SPDX-License-Identifier: Apache-2.0
// What the screen of one job says, apart from its frame.

function plural(number: number, one: string, many: string): string {
  return `${new Intl.NumberFormat().format(number)} ${number === 1 ? one : many}`;
}

export const actions = {
  of: (name: string) => `What can be done with ${name}`,
  words: {
    save: "Save now", stop: "Stop", stopLater: "Stop after the next checkpoint", stopNow: "Stop at once",
    resume: "Resume", assumeGone: "It no longer runs", hold: "Hold", release: "Release", move: "Move to the front",
    more: "Train more epochs", remove: "Remove",
  },
  did: {
    save: (name: string) => `${name} saves after its present step.`,
    stop: (name: string) => `${name} will be stopped.`,
    stopLater: (name: string) => `${name} will be stopped after its next checkpoint.`,
    stopNow: (name: string) => `${name} will be stopped at once.`,
    resume: (name: string) => `${name} is queued again.`,
    assumeGone: (name: string) => `${name} is queued again.`,
    hold: (name: string) => `${name} will not start until you release it.`,
    release: (name: string) => `${name} can start.`,
    move: (name: string) => `${name} is the next of the queue.`,
    remove: (name: string) => `${name} removed.`,
  },
  stopTitle: (name: string) => `Stop ${name}?`,
  stopSays: "The training saves first, and can be resumed.",
  stopProgramSays: "The program ends, and what it has not written is lost.",
  cancelSays: "The job leaves the queue. It can be resumed.",
  goneTitle: (name: string) => `Does nothing of ${name} run any more?`,
  goneSays: "Its GPU is freed and the job is queued again. If it still runs on the other machine, both write to the same files.",
  memory: (preset: string) => `Use the settings for ${preset.replace("g", " GB")} and resume`,
  memoryDid: (name: string) => `${name} is queued again with settings that need less memory.`,
  noLower: "It already has the settings that need the least memory: lower the resolution or the rank.",
  again: "To train it again with other settings, submit a job like it:",
};

export const finished = {
  title: "Use the LoRA",
  download: (size: string) => `Download, ${size}`,
  best: "marked as best",
  last: "the last one",
  comfy: "How to use it in ComfyUI",
  steps: [
    "Put the file into `ComfyUI/models/loras`, and press R in ComfyUI.",
    "Add the node `LoraLoaderModelOnly` between `Load Diffusion Model` and whatever used its model, and choose the file. "
      + "The LoRA changes the transformer only, so the text encoders need no LoRA node.",
    "Begin with `strength_model` 1.0. Lower it to 0.7 or so if pictures look too much like the training pictures.",
  ],
  trigger: (word: string) => `Write the trigger word into the prompt: \`${word}\`.`,
  noTrigger: "The job has no trigger word. Describe the subject as the captions do.",
};

export const more = {
  title: (name: string) => `Continue ${name}`,
  says: "A new job begins with a copy of the checkpoint, with the same settings and pictures.",
  from: "From the checkpoint",
  epochs: "Epochs after it",
  name: "Name of the new job",
  none: "It has no checkpoint left to continue from.",
  checkpoint: (epoch: string, step: string) => `epoch ${epoch}, step ${step}`,
  submit: "Queue",
  did: (name: string) => `${name} is queued.`,
  open: "Open",
};

export const watchdog = {
  title: "Watchdog",
  verdicts: { healthy: "Healthy", suspicious: "Suspicious", stuck: "Stuck", not_watched: "Not watched" },
  mode: "On a hang",
  modes: { off: "do nothing", warn: "report it", act: "save evidence, stop and resume" },
  pause: "Pause for 1 h",
  until: (time: string, then: string) => `until ${time}, then: ${then}`,
  end: "End the pause",
  limits: "Limits",
  left: (left: string, limit: string) => `${left} left of ${limit}`,
  over: (by: string) => `exceeded by ${by}`,
  explanation: "What it goes by",
  evidence: "Evidence of hangs",
  did: (mode: string) => `On a hang: ${mode}.`,
};

export const timeline = {
  title: "Timeline",
  saved: (what: string) => `${what} saved`,
  lora: "LoRA",
  state: "checkpoint",
  both: "LoRA and checkpoint",
  at: (epoch: string | null, step: string | null) =>
    [epoch !== null && `epoch ${epoch}`, step !== null && `step ${step}`].filter(Boolean).join(", "),
  samples: (number: number) => plural(number, "sample", "samples"),
  nothing: "Nothing has been recorded yet.",
  whole: "Show everything",
};

export const log = {
  title: "Log",
  lines: (number: number) => plural(number, "line", "lines"),
  follow: "Follow",
  newer: (number: number) => `${plural(number, "new line", "new lines")} ↓`,
  end: "To the end ↓",
  wrap: "Wrap lines",
  copy: "Copy",
  copied: "The lines were copied.",
  download: "Download",
  search: "Search the whole log",
  find: "Find",
  regex: "Regular expression",
  previous: "Previous match",
  next: "Next match",
  matches: (place: number, number: number, all: boolean) => `${place} of ${number}${all ? "" : "+"}`,
  none: "No match",
  earlier: "Earlier lines are not shown.",
  beginning: "From the beginning",
  missing: (size: string) => `${size} of the log were deleted to keep it within its limit.`,
  empty: "Nothing has been logged yet.",
  link: (line: string) => `Line ${line}`,
};

export const files = {
  title: "Files",
  loras: "LoRAs",
  states: "Checkpoints",
  statesSay: "The training can be resumed from a checkpoint, or continued in another job.",
  others: "Other files",
  columns: { file: "File", epoch: "Epoch", step: "Step", size: "Size", written: "Written" },
  best: "Mark as the best",
  unmark: "Best: take the mark away",
  marked: (file: string) => `${file} is marked as the best.`,
  unmarked: "No LoRA is marked as the best.",
  can: "can resume",
  cannot: "cannot be used",
  download: (file: string) => `Download ${file}`,
  free: (size: string) => `Free ${size}`,
  freeTitle: (number: number) => `Delete ${plural(number, "checkpoint", "checkpoints")}?`,
  freeSays: (kept: number) =>
    kept === 0
      ? "Without checkpoints this job cannot be continued with more epochs. The LoRAs stay."
      : "The newest checkpoint and the LoRAs stay.",
  freed: (size: string) => `${size} freed.`,
  branch: "Continue from here",
  curl: "Download it in a terminal, on this machine:",
  none: "It has written no files yet.",
  noLora: "No LoRA has been saved yet.",
};

export const settings = {
  title: "Settings",
  command: "Command line of the last attempt",
  again: "Submit a job like it",
};

export const copying = { copy: "Copy", copied: "Copied.", failed: "The browser does not let this page copy; select the text instead." };
