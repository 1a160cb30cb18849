// SPDX-License-Identifier: Apache-2.0
// The state of the machine, as the live stream has it.
import type { Gpu } from "../generated/machine.ts";

export type Machine = { gpus: Gpu[]; gpuProblem?: string | null; queuePaused: boolean; version: string };
