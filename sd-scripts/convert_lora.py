# SPDX-License-Identifier: Apache-2.0
"""Shows a Flux LoRA, or writes it in another layout: kohya's (sd-scripts, FluxGym), diffusers' or PEFT's.

    python convert_lora.py inspect LORA [--json]
    python convert_lora.py to-diffusers LORA OUT.safetensors [--force]
    python convert_lora.py to-peft LORA OUT_FOLDER [--force]
    python convert_lora.py to-kohya LORA OUT.safetensors [--force]

LORA is a file in one of these layouts, in BFL's (ComfyUI, ai-toolkit) or in OneTrainer's, or a PEFT folder; the names
of its tensors tell the layout. The conversion does not change the effect of the LoRA. OUT is written completely or
not at all, and an existing OUT is replaced only with --force. Exit status: 0 done; 1 bad input, explained in one
sentence; 2 wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from safetensors import SafetensorError

from library.errors import EXIT_BAD_INPUT, TrainerError
from library.lora import conversion as lora_conversion
from library.lora import writing as lora_writing
from library.lora.layouts import NAMES, Layout, place_of_diffusers, place_of_kohya
from library.lora.low_rank import LowRank
from library.lora.reading import CONFIG, WEIGHTS, LoRAFile, read
from library.lora.report import as_text, report_of

SUFFIX = ".safetensors"
VERBS: dict[str, Layout] = {"to-diffusers": "diffusers", "to-peft": "peft", "to-kohya": "kohya"}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Shows a Flux LoRA, or writes it in another layout.", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    inspect = verbs.add_parser("inspect", help="layout, rank, alpha, norms and metadata of a LoRA")
    inspect.add_argument("lora", type=Path, metavar="LORA")
    inspect.add_argument("--json", action="store_true", help="print everything as JSON")
    for verb, layout in VERBS.items():
        to = verbs.add_parser(verb, help=f"writes a LoRA in {NAMES[layout]}")
        to.add_argument("lora", type=Path, metavar="LORA", help="a file, or a PEFT folder")
        to.add_argument("out", type=Path, metavar="OUT", help="a new folder" if layout == "peft" else "a new file")
        to.add_argument("--force", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(arguments)


def convert(file: LoRAFile, layout: Layout, out: Path) -> int:
    """Writes the layers in another layout and returns how many it has. Raises TrainerError and OSError."""
    layers = in_layout(file, layout)
    if layout == "kohya":
        lora_writing.write_kohya(out, layers, file.metadata)
    elif layout == "diffusers":
        lora_writing.write_diffusers(out, layers, file.metadata)
    else:
        lora_writing.write_peft(out, layers, file.metadata)
    return len(layers)


def in_layout(file: LoRAFile, layout: Layout) -> dict[str, LowRank]:
    """The layers by their names in `layout`. Raises TrainerError for a layer that `layout` cannot hold."""
    place = place_of_kohya if file.family == "fused" else place_of_diffusers
    for name in file.layers:
        place(name)
    if (file.family == "fused") == (layout == "kohya"):
        return file.layers
    return lora_conversion.to_diffusers(file.layers) if layout != "kohya" else lora_conversion.to_kohya(file.layers)


def check_out(out: Path, layout: Layout, *, force: bool) -> None:
    """Raises TrainerError if OUT cannot be written, if replacing it would delete files other than an adapter's, or if
    its name has the wrong ending: programs recognise a safetensors file by its ending alone."""
    if layout != "peft" and out.suffix != SUFFIX:
        raise TrainerError(f"OUT: {out} must end in {SUFFIX}: {NAMES[layout]} is a safetensors file")
    if layout == "peft" and out.suffix == SUFFIX:
        raise TrainerError(f"OUT: {out} must be a folder, without {SUFFIX}: {NAMES[layout]} has several files")
    if not out.absolute().parent.is_dir():
        raise TrainerError(f"OUT: there is no folder {out.absolute().parent}")
    if not out.exists():
        return
    if not force:
        raise TrainerError(f"OUT: {out} already exists; --force replaces it")
    if out.is_dir() != (layout == "peft"):
        is_one, needed = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise TrainerError(f"OUT: {out} is a {is_one}, but {NAMES[layout]} needs a {needed}")
    for path in out.rglob("*") if out.is_dir() else ():
        if path.name not in (CONFIG, WEIGHTS, "text_encoder"):
            raise TrainerError(f"OUT: {out} contains more than an adapter ({path.name}); choose another folder")


def run(options: argparse.Namespace) -> None:
    """Carries out the verb. Raises TrainerError and OSError."""
    if options.verb == "inspect":
        report = report_of(read(options.lora))
        print(json.dumps(report.as_json(), indent=1, ensure_ascii=False) if options.json else as_text(report))
        return
    layout = VERBS[options.verb]
    check_out(options.out, layout, force=options.force)
    file = read(options.lora)
    if file.layout == layout:
        raise TrainerError(f"{options.lora} is already in {NAMES[layout]}")
    modules = convert(file, layout, options.out)
    read_in = f"{len(file.layers)} modules in {NAMES[file.layout]}"
    print(f"wrote {options.out} with {modules} modules in {NAMES[layout]} (from {read_in})")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has exited (`inspect LORA | head`). With stdout on /dev/null, the flush at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (TrainerError, OSError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
