# SPDX-License-Identifier: Apache-2.0
"""Tests of what is read from /proc about real processes: threads, signals, and command lines without secrets."""

import signal
import subprocess
import sys

import pytest

from fluxgymd.attempts import processes
from fluxgymd.core.journal.records import Process, Ticks
from fluxgymd.watchdog import proc
from tests.harness.waiting import DEADLINE_SECONDS, until
from tests.watchdog.processes import SLEEPS, THREADS, running


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["python", "train.py", "--huggingface_token", "hf_1", "--seed", "42"], "--huggingface_token *** --seed 42"),
        (["a", "--wandb_api_key=abc", "--api-key", "x"], "a --wandb_api_key=*** --api-key ***"),
        (["a", "PASSWORD=x", "--password", "y", "-token", "z"], "a PASSWORD=*** --password *** -token ***"),
        (["a", "https://user:pass@host/x", "hf_abcdefghijklmnopqrstuvwxyz"], "a https://***@host/x ***"),
        # These only look like secrets.
        (
            ["a", "--t5xxl_max_token_length", "512", "--keep_tokens", "1"],
            "a --t5xxl_max_token_length 512 --keep_tokens 1",
        ),
        (["a", "--huggingface_token", "--seed", "1"], "a --huggingface_token --seed 1"),
        (["wget", "--header", "Authorization: Bearer abc.def"], "wget --header Authorization: Bearer ***"),
    ],
)
def test_a_command_line_is_shown_without_its_secrets(words: list[str], shown: str) -> None:
    assert proc.masked(words).endswith(shown)


def test_each_thread_is_listed_with_its_state_and_where_it_waits() -> None:
    with running(THREADS) as process:
        until(lambda: proc.describe((process,)).count("state S, waits in ") == 4, what="its threads to sleep")
        text = proc.describe((process,))
    assert text.startswith(f"process {process.pid}: {sys.executable} -c ")
    assert text.count("  thread ") == 4
    assert text.count("state S, waits in ") == 4
    assert "  Threads:\t4\n" in text


def test_an_ended_or_replaced_process_is_not_described() -> None:
    with running(SLEEPS) as process:
        other = Process(pid=process.pid, start=Ticks(process.start + 1))
        assert proc.describe((other,)) == f"process {process.pid}\nIt ended while it was being examined.\n"
    assert proc.describe((process,)) == f"process {process.pid}\nIt ended while it was being examined.\n"


def test_only_a_bounded_number_of_processes_are_described() -> None:
    with running(SLEEPS) as process:
        text = proc.describe((process,) * (proc.MOST_PROCESSES + 2))
    assert text.count(f"process {process.pid}:") == proc.MOST_PROCESSES
    assert text.endswith("2 more processes are omitted.\n")


def test_a_signal_handler_is_detected() -> None:
    handles = "import signal; signal.signal(signal.SIGQUIT, lambda *_: None)"
    with running(f"{handles}\n{SLEEPS}") as process:
        child = subprocess.Popen(["sleep", "1000"])
        try:
            plain = processes.stat(child.pid)
            assert plain is not None
            assert not processes.catches(plain.process, signal.SIGQUIT)
        finally:
            child.kill()
            child.wait(timeout=DEADLINE_SECONDS)

        def caught() -> bool:
            return processes.catches(process, signal.SIGQUIT)

        until(caught, what="the handler to be there")
        assert not processes.catches(process, signal.SIGABRT)
    assert not processes.catches(process, signal.SIGQUIT)
