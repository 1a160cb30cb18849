# SPDX-License-Identifier: Apache-2.0
"""Tests of the files of presets: a user's own are kept, one that is damaged hides no other, and FluxGym's stay."""

from pathlib import Path

import pytest

from fluxgym.errors import InvalidName, NameTaken, NoSuchPreset, PresetFixed
from fluxgym.protocol.messages import Context, Preset
from fluxgymd.presets.shelf import SHIPPED, Shelf


def own(name: str, epochs: int = 3) -> Preset:
    return Preset(settings=Context(name=name, epochs=epochs), about="Mine.", why={}, shipped=False)


def test_a_preset_is_saved_found_in_any_case_replaced_and_removed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.save(own("mine"), replace=False)
    assert (tmp_path / "presets" / "mine.toml").read_text() == 'about = "Mine."\nepochs = 3\n'
    assert shelf.one("Mine") == own("mine")
    with pytest.raises(NameTaken, match="A preset named mine already exists"):
        shelf.save(own("mine", 5), replace=False)
    shelf.save(own("mine", 5), replace=True)
    assert shelf.one("mine").settings.epochs == 5
    shelf.remove("mine")
    with pytest.raises(NoSuchPreset, match=r"There is no preset mine; there are 12g, 16g, 20g, fast, "):
        shelf.remove("mine")


def test_one_that_comes_with_fluxgym_can_be_neither_replaced_nor_removed(tmp_path: Path) -> None:
    before = (SHIPPED / "person.toml").read_bytes()
    with pytest.raises(PresetFixed, match=r"The preset person comes with FluxGym; choose another name\."):
        Shelf(tmp_path).save(own("person"), replace=True)
    with pytest.raises(PresetFixed, match=r"The preset person comes with FluxGym; it cannot be removed\."):
        Shelf(tmp_path).remove("Person")
    assert (SHIPPED / "person.toml").read_bytes() == before
    assert Shelf(tmp_path).one("12G").shipped


def test_a_file_that_cannot_be_used_is_named_and_hides_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    for name, data in {
        "a.toml": b"epochs = 3",
        "bad.toml": b"epochs = 'x'",
        "latin.toml": b"about = '\xe9'",
        "person.toml": b"epochs = 3",
        "Two Words.toml": b"epochs = 3",
        "notes.txt": b"",
    }.items():
        (folder / name).write_bytes(data)
    (folder / "folder.toml").mkdir()
    (folder / "large.toml").write_bytes(b"#" * (1 << 20))
    shelf = Shelf(tmp_path)
    found = {each.settings.name: each.problem for each in shelf.all() if not each.shipped}
    assert found.pop("a") is None
    assert found == {
        "Two Words": f"{folder}/Two Words.toml cannot be used. The name 'Two Words' is not valid: a name has 1 to 64 "
        "characters from a-z, 0-9, '.', '_' and '-', and begins with a letter or digit; 'two-words' would be valid.",
        "bad": f"{folder}/bad.toml has an invalid value: epochs cannot be 'x'.",
        "folder": f"{folder}/folder.toml cannot be read: it is a directory, not a regular file.",
        "large": f"{folder}/large.toml cannot be read: it has 1048576 bytes, and the limit is 65536.",
        "latin": f"{folder}/latin.toml is not UTF-8.",
        "person": f"{folder}/person.toml has the name of a preset that comes with FluxGym; rename it.",
    }
    assert shelf.one("person").shipped
    with pytest.raises(NoSuchPreset, match="epochs cannot be 'x'"):
        shelf.one("bad")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "x y"])
def test_a_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "up.toml").touch()
    with pytest.raises(InvalidName):
        Shelf(tmp_path).save(own(name), replace=True)
    with pytest.raises(NoSuchPreset):
        Shelf(tmp_path).remove(name)
    assert [path.name for path in tmp_path.iterdir()] == ["up.toml"]
