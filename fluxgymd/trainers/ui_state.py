# SPDX-License-Identifier: Apache-2.0
"""ui_state.json: a view of the settings for people and for the older FluxGym, whose keys it keeps.

It is written from the journal and never read back.
"""

import msgspec

from fluxgym.protocol.messages import Context, State


def render(context: Context, state: State, job_id: str, submitted_at: float) -> bytes:
    """The file's bytes."""
    options = context.trainer_options or {}

    def word(name: str, fallback: str) -> str:
        return (options.get(name) or [fallback])[0]

    def number(name: str, fallback: float) -> float:
        # The trainer refuses what is not a number; nothing depends on this view.
        try:
            return float(word(name, ""))
        except ValueError:
            return fallback

    view = {
        "lora_name": context.name,
        "concept_sentence": context.trigger_word or "",
        "num_repeats": context.repeats,
        "max_train_epochs": context.epochs,
        "sample_prompts": "\n".join(context.sample_prompts or []),
        "sample_every_n_steps": context.sample_every_steps or 0,
        "resolution": max(context.resolutions) if context.resolutions else context.resolution,
        "enable_checkpointing": True,
        "resume_from_checkpoint": "",
        "enable_monitoring": True,
        "seed": context.seed,
        "workers": number("max_data_loader_n_workers", 2),
        "learning_rate": repr(context.learning_rate),
        "save_every_n_epochs": context.save_every_epochs,
        "guidance_scale": number("guidance_scale", 1),
        "timestep_sampling": word("timestep_sampling", "shift"),
        "network_dim": context.network_dim,
        "timestamp": submitted_at,
        "status": state.value,
        "job_id": job_id,
        "context": context,
    }
    return msgspec.json.format(msgspec.json.encode(view), indent=2) + b"\n"
