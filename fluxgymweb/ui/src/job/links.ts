// SPDX-License-Identifier: Apache-2.0
// Where the server has the files of a job.
import { API } from "../common/api.ts";

export function fileOf(job: string, file: string): string {
  return `${API}/files/${encodeURIComponent(job)}/${file.split("/").map(encodeURIComponent).join("/")}`;
}
