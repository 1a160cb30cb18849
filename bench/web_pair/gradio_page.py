# SPDX-License-Identifier: Apache-2.0
"""The same in Gradio, as tools around trainers have it: a page that shows the newest jobs, one job's status, its loss
and its log, and polls their files.

    gradio_page.py PORT OUTPUTS JOB METRICS LOG
"""

import json
import os
import sys
from pathlib import Path

import gradio as gr
import pandas as pd

PORT, OUTPUTS, JOB, METRICS, LOG = int(sys.argv[1]), *map(Path, sys.argv[2:])
SHOWN_JOBS = 200
SHOWN_LINES = 1000
TAIL_BYTES = 256 * 1024


def jobs() -> list[list[str]]:
    """The newest jobs, with the last step of each."""
    with os.scandir(OUTPUTS) as entries:
        folders = sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: -entry.stat().st_mtime)
    return [[folder.name, last_step(Path(folder.path, "metrics.jsonl"))] for folder in folders[:SHOWN_JOBS]]


def last_step(metrics: Path) -> str:
    lines = tail(metrics).splitlines()
    if not lines:
        return "waiting"
    last = json.loads(lines[-1])
    return f"{last['step']} of {last['totalSteps']}"


def losses() -> pd.DataFrame:
    rows = [json.loads(line) for line in METRICS.read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    return pd.DataFrame({"step": [row["step"] for row in rows], "loss": [row["loss"] for row in rows]})


def log() -> str:
    return "\n".join(tail(LOG).splitlines()[-SHOWN_LINES:])


def tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


with gr.Blocks(title="Training") as page:
    status = gr.Textbox(lambda: f"{JOB}: {last_step(METRICS)}", label="Status", elem_id="status")
    table = gr.Dataframe(jobs, headers=["name", "step"], label="Jobs")
    plot = gr.LinePlot(x="step", y="loss", label="Loss", elem_id="plot")
    shown = gr.Textbox(log, label="Log", lines=20, max_lines=20, autoscroll=True, elem_id="log")
    page.load(losses, outputs=plot, show_progress="hidden")
    gr.Timer(0.5).tick(log, outputs=shown, show_progress="hidden")
    slow = gr.Timer(2)
    slow.tick(lambda: f"{JOB}: {last_step(METRICS)}", outputs=status, show_progress="hidden")
    slow.tick(jobs, outputs=table, show_progress="hidden")
    slow.tick(losses, outputs=plot, show_progress="hidden")

page.launch(server_name="127.0.0.1", server_port=PORT, quiet=True)
