# SPDX-License-Identifier: Apache-2.0
"""The settings as the interface shows them."""

from pathlib import Path

from fluxgym import config
from fluxgym.setting_list import listed

SECRET = "https://hooks.example.org/services/T000/B000/XXXX"


def test_each_setting_is_listed_and_no_secret(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "FLUXGYM_HOOKS_ON_FAIL": SECRET, "FLUXGYM_LOG_LIMIT_MIB": "16.5"}
    settings = {setting.key: setting for setting in listed(config.load(environ), environ)}
    assert list(settings) == [setting.key for setting in config.SETTINGS]
    hook, log, unset = settings["hooks.on_fail"], settings["log.limit_mib"], settings["hooks.on_lost"]
    assert (hook.value, hook.default, hook.source) == ("set", "off", "FLUXGYM_HOOKS_ON_FAIL")
    assert (log.value, log.default, log.source) == ("16.5", "1024", "FLUXGYM_LOG_LIMIT_MIB")
    assert (unset.value, unset.source) == ("off", "default")
    assert SECRET not in str(settings)
