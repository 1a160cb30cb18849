# SPDX-License-Identifier: Apache-2.0
"""A process that a trainer leaves behind is stopped, and its GPU stays leased until the process is gone."""

from pathlib import Path

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, context

# A trainer that fails immediately and leaves a worker, which records each SIGTERM and keeps running.
TRAINER = """
import os, signal, sys, time
from pathlib import Path
if "--help" in sys.argv:
    sys.exit("--network_alpha --network_train_unet_only --mixed_precision --gradient_checkpointing "
             "--cache_text_encoder_outputs")
terms = Path(sys.argv[sys.argv.index("--output_dir") + 1]) / "terms"
ready, worker = os.pipe()
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: terms.open("a").write("SIGTERM\\n"))
    os.write(worker, b"r")
    while True:
        time.sleep(60)
os.read(ready, 1)
sys.exit(1)
"""


def test_a_worker_that_does_not_exit_is_reported_once_and_killed_at_the_limit(folder: Path, model: Path) -> None:
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text(TRAINER)
    env = {"FLUXGYM_TRAINER_PATH": str(trainer), "FLUXGYM_STOP_LIMIT_SECONDS": "4"}
    with RunningDaemon(folder, env=env, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(context("my-lora", model, trainer_options={}))
        daemon.wait("my-lora", State.FAILED)
        assert (daemon.folder("my-lora") / "terms").read_text() == "SIGTERM\n"
        assert "some of its processes remain" in (daemon.folder("my-lora") / "monitor.log").read_text()
