// SPDX-License-Identifier: Apache-2.0
// Calls of the daemon's methods. Every failure becomes a Refusal with one sentence for people.
import type { Methods } from "../generated/calls.ts";
import { text } from "../text.ts";
import { at } from "./root.ts";

export const API = at("/api/v1");

export type Method = keyof Methods;
export type Input<M extends Method> = Methods[M]["input"];
export type Output<M extends Method> = Methods[M]["output"];

// `error`: the name on the wire, such as org.fluxgym.Jobs.WrongState; empty if the daemon was not reached.
export class Refusal extends Error {
  readonly error: string;
  readonly parameters: Record<string, unknown>;

  constructor(message: string, error = "", parameters: Record<string, unknown> = {}) {
    super(message);
    this.error = error;
    this.parameters = parameters;
  }
}

export async function call<M extends Method>(method: M, input: Input<M>): Promise<Output<M>> {
  const answer = await send(method, input);
  return (await body(answer)) as Output<M>;
}

// The replies of a stream, in order, until the daemon ends it.
export async function* stream<M extends Method>(
  method: M, input: Input<M>, signal?: AbortSignal,
): AsyncGenerator<Output<M>> {
  const answer = await send(method, input, signal);
  if (!answer.ok || answer.body === null) {
    await body(answer);
    return;
  }
  for await (const line of lines(answer.body)) {
    const reply = JSON.parse(line);
    if (typeof reply.error === "string") throw refusal(reply);
    yield reply;
  }
}

export async function all<M extends Method>(method: M, input: Input<M>): Promise<Output<M>[]> {
  const found: Output<M>[] = [];
  for await (const reply of stream(method, input)) found.push(reply);
  return found;
}

export function sentence(problem: unknown): string {
  return problem instanceof Error ? problem.message : String(problem);
}

async function send(method: Method, input: unknown, signal?: AbortSignal): Promise<Response> {
  try {
    return await fetch(`${API}/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Fluxgym": "1" },
      body: JSON.stringify(input),
      ...(signal && { signal }),
    });
  } catch (problem) {
    if (signal?.aborted) throw problem;
    throw new Refusal(text.away.server);
  }
}

async function body(answer: Response): Promise<unknown> {
  const said: unknown = await answer.json().catch(() => null);
  if (answer.ok && said !== null) return said;
  throw refusal(said, answer.status);
}

function refusal(said: unknown, status = 0): Refusal {
  if (typeof said === "object" && said !== null && "error" in said) {
    const { error, parameters } = said as { error: unknown; parameters?: Record<string, unknown> };
    const message = parameters?.["message"];
    return new Refusal(typeof message === "string" ? message : String(error), String(error), parameters ?? {});
  }
  return new Refusal(text.away.answer(status));
}

async function* lines(from: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = from.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      yield* parts.filter((part) => part !== "");
    }
  } finally {
    await reader.cancel();
  }
}
