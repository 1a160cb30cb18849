# SPDX-License-Identifier: Apache-2.0
"""The settings as the interface shows them. The daemon and `fluxgymctl config` both use this list."""

from fluxgym.config import SETTINGS, Config, Environment
from fluxgym.protocol.machine_messages import Setting


def listed(config: Config, environ: Environment) -> list[Setting]:
    """Every setting with its value, in the order of the table. The address of a webhook, which is a secret, is shown
    as `set`."""
    return [
        Setting(
            key=setting.key,
            value=_text(config.values[setting.key].value),
            default=_text(setting.default(environ)),
            source=config.values[setting.key].source,
            variable=setting.variable,
            about=setting.help,
        )
        for setting in SETTINGS
    ]


def _text(value: object) -> str:
    if value is None:
        return "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
