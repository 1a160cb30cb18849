// SPDX-License-Identifier: Apache-2.0
// A sentence of the daemon: what stands between backticks is a command or a path.

export function Prose({ says }: { says: string }) {
  return <>{says.split("`").map((part, number) => (number % 2 === 1 ? <code key={number}>{part}</code> : part))}</>;
}
