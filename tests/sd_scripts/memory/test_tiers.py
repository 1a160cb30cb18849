# SPDX-License-Identifier: Apache-2.0
"""How each GPU computes FLUX.1 dev, row by row, and what always holds for the choice."""

from __future__ import annotations

from typing import Any

import pytest

from library.errors import TrainerError
from library.flux.base_model import DECODING
from library.memory import footprint, tiers
from library.memory.footprint import Run, Sample, Tier
from library.memory.tiers import GB, Budget
from library.options.options import VRAM
from tests.sd_scripts.full_size import training
from tests.sd_scripts.memory import memory_table

# Free memory of each GPU in a program that has just started.
FREE = {"H200": 140.2, "H100": 84.2, "RTX 4090": 25.0, "RTX 3060": 12.4}
BLOCKS = 57


def row(name: str, tier: str, estimated_gb: float) -> Any:
    """`name` is like `1024 px, 4, RTX 4090`, and `tier` like `57 fp8 10`: checkpointed, base, swapped."""
    return pytest.param(name, tier, estimated_gb, id=name)


TABLE = [
    row("512 px, 1, --vram 12", "57 fp8 10", 11.8),
    row("512 px, 1, --vram 16", "52 fp8 0", 15.8),
    row("512 px, 1, --vram 20", "34 fp8 0", 19.9),
    row("512 px, 1, --vram 24", "17 fp8 0", 23.8),
    row("512 px, 1, --vram 48", "0 full 0", 40.0),
    row("512 px, 1, --vram 80", "0 full 0", 40.0),
    row("512 px, 1, RTX 3060", "57 fp8 11", 11.5),
    row("512 px, 1, RTX 4090", "18 fp8 0", 23.5),
    row("512 px, 1, H100", "0 full 0", 40.0),
    row("512 px, 1, H200", "0 full 0", 40.0),
    row("512 px, 4, --vram 12", "57 fp8 19", 11.9),
    row("512 px, 4, --vram 16", "57 fp8 6", 15.9),
    row("512 px, 4, --vram 20", "54 fp8 0", 19.4),
    row("512 px, 4, --vram 24", "49 fp8 0", 23.9),
    row("512 px, 4, --vram 48", "36 full 0", 47.4),
    row("512 px, 4, --vram 80", "3 full 0", 79.8),
    row("512 px, 4, RTX 3060", "57 fp8 20", 11.5),
    row("512 px, 4, RTX 4090", "50 fp8 0", 23.0),
    row("512 px, 4, H100", "3 full 0", 79.8),
    row("512 px, 4, H200", "0 full 0", 83.0),
    row("768 px, 1, --vram 12", "57 fp8 12", 12.0),
    row("768 px, 1, --vram 16", "56 fp8 0", 15.7),
    row("768 px, 1, --vram 20", "46 fp8 0", 19.8),
    row("768 px, 1, --vram 24", "36 fp8 0", 23.9),
    row("768 px, 1, --vram 48", "9 full 0", 47.6),
    row("768 px, 1, --vram 80", "0 full 0", 52.0),
    row("768 px, 1, RTX 3060", "57 fp8 13", 11.7),
    row("768 px, 1, RTX 4090", "37 fp8 0", 23.5),
    row("768 px, 1, H100", "0 full 0", 52.0),
    row("768 px, 1, H200", "0 full 0", 52.0),
    row("768 px, 4, --vram 12", "57 fp8 29", 11.9),
    row("768 px, 4, --vram 16", "57 fp8 16", 15.9),
    row("768 px, 4, --vram 20", "57 fp8 4", 19.7),
    row("768 px, 4, --vram 24", "54 fp8 0", 23.9),
    row("768 px, 4, --vram 48", "47 full 0", 47.2),
    row("768 px, 4, --vram 80", "28 full 0", 78.9),
    row("768 px, 4, RTX 3060", "57 fp8 30", 11.6),
    row("768 px, 4, RTX 4090", "55 fp8 0", 22.2),
    row("768 px, 4, H100", "28 full 0", 78.9),
    row("768 px, 4, H200", "0 full 0", 130.8),
    row("1024 px, 1, --vram 12", "57 fp8 16", 11.8),
    row("1024 px, 1, --vram 16", "57 fp8 3", 15.9),
    row("1024 px, 1, --vram 20", "52 fp8 0", 19.4),
    row("1024 px, 1, --vram 24", "46 fp8 0", 23.5),
    row("1024 px, 1, --vram 48", "28 full 0", 47.4),
    row("1024 px, 1, --vram 80", "0 full 0", 68.7),
    row("1024 px, 1, RTX 3060", "57 fp8 17", 11.6),
    row("1024 px, 1, RTX 4090", "46 fp8 0", 23.5),
    row("1024 px, 1, H100", "0 full 0", 68.7),
    row("1024 px, 1, H200", "0 full 0", 68.7),
    # Too much for 12 GB: `check` refuses it.
    row("1024 px, 4, --vram 12", "57 fp8 35", 14.4),
    row("1024 px, 4, --vram 16", "57 fp8 30", 16.0),
    row("1024 px, 4, --vram 20", "57 fp8 18", 19.7),
    row("1024 px, 4, --vram 24", "57 fp8 5", 23.8),
    row("1024 px, 4, --vram 48", "52 full 0", 47.3),
    row("1024 px, 4, --vram 80", "41 full 0", 77.3),
    row("1024 px, 4, RTX 3060", "57 fp8 35", 14.4),
    row("1024 px, 4, RTX 4090", "57 fp8 6", 23.5),
    row("1024 px, 4, H100", "41 full 0", 77.3),
    row("1024 px, 4, H200", "21 full 0", 131.8),
]


def budget_of(gpu: str) -> Budget:
    if gpu.startswith("--vram "):
        found = tiers.budget(gpu.removeprefix("--vram "), free=None)
    else:
        found = tiers.budget("auto", free=round(FREE[gpu] * GB))
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "tier", "estimated_gb"), TABLE)
def test_each_gpu_size_gets_its_way_to_train_a_lora_of_rank_16(name: str, tier: str, estimated_gb: float) -> None:
    pixels, batch, gpu = name.split(", ")
    run = training(pixels=int(pixels.removesuffix(" px")), batch=int(batch))
    plan = tiers.choose(run, settled={}, budget=budget_of(gpu))
    checkpointed, base, swapped = tier.split()
    assert plan.tier == Tier(base=base, checkpointed_blocks=int(checkpointed), blocks_to_swap=int(swapped))
    assert round(plan.footprint.total / GB, 1) == estimated_gb


def test_the_table_covers_each_size_batch_and_gpu() -> None:
    gpus = [*(f"--vram {size}" for size in VRAM if size != "auto"), *FREE]
    sizes = [(pixels, batch) for pixels in (512, 768, 1024) for batch in (1, 4)]
    assert {entry.id for entry in TABLE} == {
        f"{pixels} px, {batch}, {gpu}" for pixels, batch in sizes for gpu in gpus
    }


@pytest.mark.parametrize(("pixels", "batch", "rank"), [(512, 1, 16), (1024, 1, 4), (1024, 4, 64), (768, 2, 128)])
def test_more_memory_never_leads_to_a_slower_choice(pixels: int, batch: int, rank: int) -> None:
    run = training(pixels=pixels, batch=batch, rank=rank)
    order = list(tiers.ways(run, {}))
    places = []
    for free in range(4 * GB, 400 * GB, GB // 2):
        budget = tiers.budget("auto", free=free)
        plan = tiers.choose(run, settled={}, budget=budget)
        places.append(order.index(plan.tier))
        assert budget is not None
        assert plan.footprint.total <= budget.chosen or plan.tier == order[-1]
        # The way before it would not have fitted.
        if places[-1]:
            assert footprint.of(run, order[places[-1] - 1]).total > budget.chosen
    assert places == sorted(places, reverse=True)
    assert places[0] == len(order) - 1
    assert places[-1] == 0


def sample(side: int) -> Sample:
    return Sample(area=side * side, tokens=side * side // 256 + 512, autoencoder=335_278_732, decoding=DECODING)


@pytest.mark.parametrize(
    ("pixels", "side", "gpu", "tier", "estimated_gb"),
    [
        pytest.param(512, 1024, "--vram 24", "17 fp8 0", 23.8, id="beside what is trained they need nothing more"),
        pytest.param(512, 1024, "--vram 12", "57 fp8 17", 11.8, id="a few blocks more take turns"),
        pytest.param(512, 2048, "--vram 12", "57 fp8 10", None, id="no way has room for them"),
        pytest.param(512, 2048, "--vram 48", "0 full 0", 40.0, id="large samples on a large GPU"),
    ],
)
def test_samples_are_made_to_fit_if_possible(
    pixels: int, side: int, gpu: str, tier: str, estimated_gb: float | None
) -> None:
    run, budget = training(pixels=pixels, sample=sample(side)), budget_of(gpu)
    plan = tiers.choose(run, settled={}, budget=budget)
    checkpointed, base, swapped = tier.split()
    assert plan.tier == Tier(base=base, checkpointed_blocks=int(checkpointed), blocks_to_swap=int(swapped))
    tiers.check(plan, budget, resumed=False)
    advice = tiers.advice_on_samples(plan, budget)
    if estimated_gb is None:
        assert plan.tier == tiers.choose(training(pixels=pixels), settled={}, budget=budget).tier
        assert advice is not None
        assert advice.startswith("samples need about ")
        assert "but only 12.9 GB is available: those that do not fit are skipped" in advice
    else:
        assert round(plan.footprint.total / GB, 1) == estimated_gb
        assert advice is None


def test_the_encoders_have_to_fit() -> None:
    budget = budget_of("--vram 12")
    tiers.check_encoding(9_800_000_000, "encoding the captions", budget)
    tiers.check_encoding(19_600_000_000, "encoding the captions", None)
    with pytest.raises(TrainerError, match=r"encoding the captions needs about 19.6 GB .* only 12.9 GB is available"):
        tiers.check_encoding(19_600_000_000, "encoding the captions", budget)


def test_without_a_gpu_nothing_is_chosen() -> None:
    run = training(batch=64)
    assert tiers.budget("auto", free=None) is None
    plan = tiers.choose(run, settled={}, budget=None)
    assert plan.tier == Tier()
    tiers.check(plan, None, resumed=False)


@pytest.mark.parametrize(
    ("settled", "tier"),
    [
        pytest.param({"base": "full"}, Tier(checkpointed_blocks=57, blocks_to_swap=8), id="an unquantised base"),
        pytest.param({"base": "fp8"}, Tier(base="fp8", checkpointed_blocks=46), id="an fp8 base"),
        pytest.param(
            {"base": "fp8", "checkpointed_blocks": 57},
            Tier(base="fp8", checkpointed_blocks=57),
            id="FluxGym's 16G and 20G",
        ),
        pytest.param(
            {"base": "fp8", "checkpointed_blocks": 57, "blocks_to_swap": 18},
            Tier(base="fp8", checkpointed_blocks=57, blocks_to_swap=18),
            id="FluxGym's 12G",
        ),
        pytest.param({"checkpointed_blocks": 57}, Tier(base="fp8", checkpointed_blocks=57), id="all checkpointed"),
        # Swapped blocks have to be checkpointed; others are only if memory requires it.
        pytest.param(
            {"base": "fp8", "blocks_to_swap": 35},
            Tier(base="fp8", checkpointed_blocks=57, blocks_to_swap=35),
            id="swapped blocks",
        ),
        pytest.param(
            {"base": "full", "checkpointed_blocks": 0, "blocks_to_swap": 0}, Tier(), id="all of it: nothing is chosen"
        ),
    ],
)
def test_an_explicit_setting_is_kept(settled: dict[str, object], tier: Tier) -> None:
    plan = tiers.choose(training(), settled=settled, budget=budget_of("RTX 4090"))
    assert plan.tier == tier


def test_in_fp32_there_is_no_fp8_base() -> None:
    assert {tier.base for tier in tiers.ways(training(autocast=False), {})} == {"full"}


@pytest.mark.parametrize(
    ("run", "settled", "gpu", "sentence"),
    [
        pytest.param(
            training(batch=4),
            {},
            "--vram 12",
            "needs about 14.4 GB of GPU memory with fp8 base, 57 blocks checkpointed, 35 blocks swapped: 1.1 GB for "
            "frozen weights, 1.2 GB for the LoRA with gradients and optimizer, ",
            id="whatever is done",
        ),
        pytest.param(
            training(rank=512), {}, "RTX 4090", "39.2 GB for the LoRA with gradients and optimizer", id="a large LoRA"
        ),
        pytest.param(
            training(),
            {"base": "full", "checkpointed_blocks": 0, "blocks_to_swap": 0},
            "H100",
            None,
            id="as it was chosen on the same GPU",
        ),
        pytest.param(
            training(),
            {"base": "full", "checkpointed_blocks": 0, "blocks_to_swap": 0},
            "--vram 48",
            "only 51.5 GB is available; use a smaller resolution",
            id="as asked for, on a smaller GPU",
        ),
    ],
)
def test_a_training_that_cannot_fit_is_refused_with_the_numbers(
    run: Run, settled: dict[str, object], gpu: str, sentence: str | None
) -> None:
    budget = budget_of(gpu)
    plan = tiers.choose(run, settled=settled, budget=budget)
    if sentence is None:
        tiers.check(plan, budget, resumed=False)
        return
    with pytest.raises(TrainerError) as refused:
        tiers.check(plan, budget, resumed=False)
    assert sentence in str(refused.value)
    with pytest.raises(TrainerError, match="add --replan to choose again for this GPU"):
        tiers.check(plan, budget, resumed=True)


def test_a_resumed_run_is_not_refused_for_a_little_less_memory() -> None:
    run, free = training(), round(FREE["RTX 4090"] * GB)
    chosen = tiers.choose(run, settled={}, budget=tiers.budget("auto", free=free))
    less = tiers.budget("auto", free=free - GB)
    again = tiers.choose(run, settled=vars(chosen.tier), budget=less)
    assert again.tier == chosen.tier
    assert less is not None
    assert again.footprint.total > less.chosen
    tiers.check(again, less, resumed=True)


def test_a_choice_is_reported_in_one_line() -> None:
    run, budget = training(), budget_of("--vram 16")
    plan = tiers.choose(run, settled={}, budget=budget)
    assert tiers.line(run, plan, budget) == (
        "memory: 16.0 GB: fp8 base, 57 of 57 blocks checkpointed, 3 blocks swapped, estimated 15.9 GB"
    )
    small, roomy = training(pixels=512), budget_of("H200")
    assert tiers.line(small, tiers.choose(small, settled={}, budget=roomy), roomy) == (
        "memory: 133.2 GB: unquantised base, no blocks checkpointed, estimated 40.0 GB"
    )


def test_the_host_keeps_each_swapped_block() -> None:
    run = training()
    assert footprint.on_host(run, Tier(base="fp8", checkpointed_blocks=57)) == 0
    # 17 double and 36 single blocks fewer on the GPU, and two slots of each kind: all blocks take turns.
    double, single = (block.numbers for block in run.model.blocks)
    everything = 19 * double.stored("fp8", 2) + 38 * single.stored("fp8", 2)
    assert footprint.on_host(run, Tier(base="fp8", checkpointed_blocks=57, blocks_to_swap=35)) == everything


def test_inputs_of_checkpointed_blocks_that_wait_on_the_host_are_not_on_the_gpu() -> None:
    here, there = training(), training(inputs_on_host=True)
    tier = Tier(checkpointed_blocks=BLOCKS)
    one = here.batch.tokens * here.model.hidden * 2
    assert footprint.of(here, tier).total - footprint.of(there, tier).total == (BLOCKS - 2) * one
    assert footprint.on_host(there, tier) - footprint.on_host(here, tier) == BLOCKS * one


def test_the_table_in_the_docs_is_current() -> None:
    page = memory_table.PAGE.read_text(encoding="utf-8")
    assert memory_table.filled(page) == page
    with pytest.raises(ValueError, match="no markers"):
        memory_table.filled("a page without")
