// SPDX-License-Identifier: Apache-2.0
// A bar of progress.
import { text } from "../text.ts";

export function Bar({ done, of }: { done: number; of: string }) {
  return <progress max={100} value={done} aria-label={text.progressOf(of)}>{done}</progress>;
}
