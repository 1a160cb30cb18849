# SPDX-License-Identifier: Apache-2.0
"""`hooks`: tests the hooks, which are called when something happens to a job (docs/hooks.md)."""

import click

from fluxgym.hooks import EVENTS
from fluxgym.protocol.machine_messages import HookResult
from fluxgym.protocol.machine_methods import TEST_HOOK, TestHookParameters
from fluxgymctl.manual import epilog
from fluxgymctl.output import note, plain, write, write_json
from fluxgymctl.session import Session, common_options

FAILED = 1
ENDS = f"0 all hooks succeeded, {FAILED} one failed or none is set"


@click.group("hooks", epilog=epilog("hooks test", ends=ENDS))
@common_options
def command() -> None:
    """Tests the hooks, which are called when something happens to a job.

    Hooks are set in config.toml only.
    """


@command.command("test", epilog=epilog("hooks test", "hooks test finish", ends=ENDS))
@click.argument("event", required=False, type=click.Choice(EVENTS))
@common_options
@click.pass_obj
def test(session: Session, event: str | None) -> int:
    """Calls each hook that is set, or only the one for EVENT, as a test.

    The object that a hook receives says that this is a test. No job changes.
    """
    failed = False
    with session.connect() as connection:
        for reply in connection.stream(TEST_HOOK, TestHookParameters(hook=event)):
            if reply.problem is not None:
                failed = True
                note(reply.problem)
            if reply.result is None:
                continue
            failed = failed or reply.result.problem is not None
            if session.json:
                write_json(reply.result)
            else:
                for line in lines(reply.result):
                    write(line)
    return FAILED if failed else 0


def lines(result: HookResult) -> list[str]:
    how = "succeeded" if result.problem is None else f"failed: {result.problem}"
    first = f"on_{result.hook} {how} ({result.seconds:.1f} s)"
    return [plain(first), *(plain(f"    {line}") for line in result.output.splitlines())]
