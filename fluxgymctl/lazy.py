# SPDX-License-Identifier: Apache-2.0
"""Groups of verbs, each loaded from its file when it is needed, so that `fluxgymctl list` loads no other verb."""

import importlib
from collections.abc import Mapping

import click

from fluxgym.quoting import hint, short


def lazy_group(packages: Mapping[str, str]) -> type[click.Group]:
    """The class of a group. `packages`: the package of each verb, in the order of the help. The verb `x` is the
    `command` of the module `PACKAGE.x`."""
    verbs = list(packages)

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
            return verbs

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  likewise
            if cmd_name not in verbs:
                return None
            command = importlib.import_module(f"{packages[cmd_name]}.{cmd_name}").command
            assert isinstance(command, click.Command)
            return command

        def resolve_command(
            self, ctx: click.Context, args: list[str]
        ) -> tuple[str | None, click.Command | None, list[str]]:
            if args[0] not in verbs and not args[0].startswith("-"):
                meant = hint(args[0], verbs, otherwise=f"the verbs are {', '.join(verbs)}.")
                raise click.UsageError(f"There is no verb {short(args[0])}; {meant}")
            return super().resolve_command(ctx, args)

    return LazyGroup
