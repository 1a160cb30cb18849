# SPDX-License-Identifier: Apache-2.0
"""Decides from facts what is right or wrong with this machine, and how to fix it. requests/check_machine.py gathers
the facts."""

from collections.abc import Sequence

from fluxgym.protocol.machine_messages import CheckOutcome, CheckResult, Linger

LOW_BYTES = 10_000_000_000
"""With less free space than this, a training may fail: its states alone take gigabytes."""


def good(name: str, text: str) -> CheckResult:
    return CheckResult(name=name, outcome=CheckOutcome.GOOD, text=text)


def warning(name: str, text: str, *, remedy: str | None = None, command: str | None = None) -> CheckResult:
    return CheckResult(name=name, outcome=CheckOutcome.WARNING, text=text, remedy=remedy, command=command)


def problem(name: str, text: str, *, remedy: str | None = None, command: str | None = None) -> CheckResult:
    return CheckResult(name=name, outcome=CheckOutcome.PROBLEM, text=text, remedy=remedy, command=command)


def gpu(names: Sequence[str], trouble: str | None, *, uncertain: bool) -> CheckResult:
    """`names`: the GPUs that NVML reports; `trouble`: what is wrong with them, and what follows from it."""
    if trouble is None and names:
        return good("gpu", f"NVML answers. GPUs: {', '.join(names)}.")
    if uncertain or names:
        return problem(
            "gpu",
            trouble or "The GPUs of this machine are not known yet.",
            remedy="If nvidia-smi reports the same, reboot the machine or reinstall the NVIDIA driver.",
            command="nvidia-smi",
        )
    return warning(
        "gpu",
        trouble or "No GPU was found. Trainings run on the CPU, one at a time.",
        remedy="If this machine has an NVIDIA GPU, install its driver.",
    )


def supervisor(adapter: str, reason: str, trouble: str | None) -> CheckResult:
    """`adapter`: scope or process; `reason`: why it was chosen; `trouble`: why it cannot start jobs at present."""
    if trouble is not None:
        return problem(
            "supervisor",
            trouble,
            remedy="Check whether your user manager is running.",
            command="systemctl --user status",
        )
    if adapter == "scope":
        return good("supervisor", f"Your systemd runs the jobs. {reason}")
    return warning(
        "supervisor",
        f"The jobs run as plain processes. {reason}",
        remedy="With a user manager, systemd isolates jobs and their memory; log in with a session that has one.",
    )


def linger(found: Linger, adapter: str) -> CheckResult:
    match found:
        case Linger.ENABLED:
            return good("linger", "Linger is on: your jobs continue after you log out.")
        case Linger.DISABLED if adapter == "scope":
            return warning(
                "linger",
                "Linger is off: your jobs end when you log out.",
                remedy="Enable it with: loginctl enable-linger",
                command="loginctl enable-linger",
            )
        case Linger.DISABLED:
            return good("linger", "Linger is off, which does not affect jobs that are plain processes.")
    return good("linger", "No logind runs here, so no logout ends your jobs.")


def disk(home: str, *, free: int, trouble: str | None) -> CheckResult:
    """`free`: bytes; `trouble`: why the daemon cannot write its own files."""
    if trouble is not None:
        return problem("disk", trouble, command="fluxgymctl disks")
    left = f"The disk of {home} has {free / 1e9:.1f} GB free"
    if free < LOW_BYTES:
        return warning(
            "disk",
            f"{left}; the states of a training may need more.",
            remedy="Free some space; `fluxgymctl disks` shows what uses it.",
            command="fluxgymctl disks",
        )
    return good("disk", f"{left}.")


def trainer(path: str, flags: int) -> CheckResult:
    """`flags`: how many it reports."""
    if flags:
        return good("trainer", f"The trainer in {path} answers.")
    return problem(
        "trainer",
        trainer_is_silent(path),
        remedy="Install FluxGym again, or correct trainer.path and trainer.python in config.toml.",
        command="fluxgymctl config",
    )


def trainer_is_silent(path: str) -> str:
    return f"The trainer in {path} does not say which flags it has; see the daemon's log."


def health(degraded: Sequence[str], *, told: frozenset[str]) -> list[CheckResult]:
    """`degraded`: what does not work, in sentences; `told`: sentences that other results already contain."""
    if not degraded:
        return [good("health", "The daemon reports no problems.")]
    return [problem("health", text) for text in degraded if text not in told]
