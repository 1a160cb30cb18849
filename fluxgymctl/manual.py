# SPDX-License-Identifier: Apache-2.0
"""The end of each verb's help: examples that can be typed as they are, and the exit statuses."""

REFUSALS = (
    "1 other failure, 2 bad input, 3 no such job, 4 not possible in this state, 5 disk full or failing, "
    "6 no daemon, 130 interrupted"
)


def epilog(*examples: str, ends: str = "0 success") -> str:
    r"""The end of a help text. `examples`: without the program's name. `ends`: the exit statuses of a call that was
    not refused. (\b keeps click from rewrapping the lines.)"""
    lines = "\n".join(f"  fluxgymctl {example}" for example in examples)
    return f"\b\nExamples:\n{lines}\n\nExit status: {ends}; {REFUSALS}."
