# SPDX-License-Identifier: Apache-2.0
"""What a job has written, as a client of the real daemon sees it."""

import shlex
from pathlib import Path

import psutil
import pytest
from PIL import Image

from fluxgym.errors import FileMissing, InvalidDataset, InvalidParameter, InvalidSetting
from fluxgym.protocol import output_methods as o
from fluxgym.protocol.client import Connection
from fluxgym.protocol.messages import State
from fluxgym.protocol.methods import RESUME, JobName, ResumeParameters
from tests.daemon.running import DONE, RunningDaemon, program

MIB = 1 << 20


def line(step: int, loss: float | str = 0.5) -> str:
    return f'{{"time":{step},"phase":"training","step":{step},"loss":{loss}}}'


def ended(daemon: RunningDaemon, name: str, script: str) -> None:
    daemon.submit(program(name, f"{script}; {DONE}"))
    daemon.wait(name, State.COMPLETED)


def measured(daemon: RunningDaemon, name: str, **asked: object) -> list[o.MetricsReply]:
    with Connection(daemon.socket) as connection:
        return list(connection.stream(o.METRICS, o.MetricsParameters(name=name, **asked)))  # type: ignore[arg-type]


def steps(replies: list[o.MetricsReply]) -> list[int]:
    return [step for reply in replies for step in reply.metrics.step]


def test_a_cursor_outlives_the_daemon_and_a_replaced_file_resets_it(daemon: RunningDaemon) -> None:
    ended(daemon, "job", f"printf '%s\\n' '{line(1)}' '{line(2, 'null')}' rubbish >>$FLUXGYM_METRICS")
    (first,) = measured(daemon, "job")
    assert (first.metrics.step, first.metrics.loss, first.metrics.not_finite) == ([1, 2], [0.5, None], [1])
    assert first.metrics.attempt == [1, 1]
    daemon.stop()
    metrics = daemon.folder("job") / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + line(3) + "\n")
    daemon.start()
    (second,) = measured(daemon, "job", after=first.cursor)
    assert (second.metrics.step, second.reset) == ([3], None)
    metrics.write_text(line(8) + "\n")
    for cursor in (second.cursor, "nonsense"):
        (third,) = measured(daemon, "job", after=cursor)
        assert (third.metrics.step, third.reset) == ([8], True)


def test_following_sends_what_is_added_until_the_job_ends(daemon: RunningDaemon, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo '{line(1)}' >>$FLUXGYM_METRICS; until [ -e {go} ]; do sleep 0.1; done"
    daemon.submit(program("job", f"{script}; echo '{line(2)}' >>$FLUXGYM_METRICS; {DONE}"))
    daemon.wait("job", State.RUNNING)
    seen: list[o.MetricsReply] = []
    with Connection(daemon.socket) as connection:
        for reply in connection.stream(o.METRICS, o.MetricsParameters(name="job", follow=True)):
            seen.append(reply)
            if 1 in reply.metrics.step:
                go.touch()
    assert steps(seen) == [1, 2]
    assert measured(daemon, "job", after=seen[-1].cursor, follow=True)[-1].metrics.step == []


def test_a_long_file_is_thinned_with_little_memory(daemon: RunningDaemon) -> None:
    ended(daemon, "job", ":")
    metrics = daemon.folder("job") / "metrics.jsonl"
    with metrics.open("w") as file:
        file.writelines(f"{line(step, 9.0 if step == 77_777 else 0.1)}\n" for step in range(200_000))
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    before = process.memory_info().rss
    (reply,) = measured(daemon, "job", points=500)
    assert process.memory_info().rss - before < 40 * MIB
    assert len(reply.metrics.step) <= 500
    assert max(value for value in reply.metrics.loss if value is not None) == 9.0
    assert reply.metrics.step[-125:] == list(range(200_000 - 125, 200_000))
    assert len(steps(measured(daemon, "job"))) == 200_000


@pytest.mark.parametrize("points", [9, 10_001, -1])
def test_points_has_limits(daemon: RunningDaemon, points: int) -> None:
    ended(daemon, "job", ":")
    with pytest.raises(InvalidParameter):
        measured(daemon, "job", points=points)


def test_a_job_without_measurements_has_none(daemon: RunningDaemon) -> None:
    ended(daemon, "job", ":")
    (reply,) = measured(daemon, "job", points=100)
    assert (reply.metrics.step, reply.reset) == ([], None)


def test_the_files_of_a_program_are_its_results_and_records(daemon: RunningDaemon) -> None:
    daemon.submit(
        program("job", """echo words >made; echo '{"files": [{"path": "made", "size": 6}]}' >result.json""")
    )
    daemon.wait("job", State.COMPLETED)
    found = {file.name: str(file.kind) for file in daemon.call(o.FILES, JobName(name="job")).files}
    assert {"made": "result", "result.json": "result", "events.jsonl": "history"}.items() <= found.items()
    assert daemon.call(o.SAMPLES, JobName(name="job")).samples == []


def test_the_command_line_of_each_attempt_is_among_the_files(daemon: RunningDaemon) -> None:
    ended(daemon, "job", "echo 'a  b'")
    (file,) = (
        file for file in daemon.call(o.FILES, JobName(name="job")).files if file.name == "attempts/001/command.txt"
    )
    assert str(file.kind) == "settings"
    assert shlex.split(Path(file.path).read_text()) == ["/bin/sh", "-c", f"echo 'a  b'; {DONE}"]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def thumbnail(daemon: RunningDaemon, file: str, size: int | None = None) -> Path:
    asked = o.ThumbnailOfJobParameters(name="job", file=file, size=size)
    return Path(daemon.call(o.THUMBNAIL_OF_JOB, asked).path)


def test_a_picture_of_a_job_has_thumbnails(daemon: RunningDaemon, tmp_path: Path) -> None:
    ended(daemon, "job", ":")
    folder = daemon.folder("job")
    Image.new("RGB", (300, 100), "red").save(folder / "a.png")
    small, large = thumbnail(daemon, "a.png", 100), thumbnail(daemon, "a.png")
    assert [size_of(path) for path in (small, large)] == [(128, 43), (256, 85)]
    Image.new("RGB", (20, 10), "red").save(folder / "a.png")
    assert size_of(thumbnail(daemon, "a.png")) == (20, 10)
    Image.new("RGB", (20, 10), "red").save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    for file in ("link.png", "../secret.png", str(tmp_path / "secret.png"), "none.png", "events.jsonl", ""):
        with pytest.raises(
            FileMissing, match=r"^job has no picture .*; `fluxgymctl samples job` lists its samples\.$"
        ):
            thumbnail(daemon, file)
    (folder / "broken.png").write_bytes(b"png")
    with pytest.raises(InvalidDataset, match=r"^The picture .*broken\.png "):
        thumbnail(daemon, "broken.png")
    for size in (0, 1025):
        with pytest.raises(InvalidParameter):
            thumbnail(daemon, "a.png", size)


def test_measurements_name_their_attempt_and_repeated_steps_are_kept(daemon: RunningDaemon) -> None:
    """As after a resume from a checkpoint: the steps since then are trained again."""
    first = f"printf '%s\\n' '{line(1)}' '{line(2)}' >>$FLUXGYM_METRICS; exit 3"
    second = f"printf '%s\\n' '{line(2, 0.25)}' '{line(3)}' >>$FLUXGYM_METRICS; {DONE}"
    daemon.submit(program("job", f"if [ -e again ]; then {second}; else touch again; {first}; fi"))
    daemon.wait("job", State.FAILED)
    (before,) = measured(daemon, "job")
    daemon.call(RESUME, ResumeParameters(name="job"))
    daemon.wait("job", State.COMPLETED)
    (after,) = measured(daemon, "job")
    assert (after.metrics.attempt, after.metrics.step) == ([1, 1, 2, 2], [1, 2, 2, 3])
    (new,) = measured(daemon, "job", after=before.cursor)
    assert (new.metrics.attempt, new.metrics.loss) == ([2, 2], [0.25, 0.5])


def searched(daemon: RunningDaemon, text: str, **asked: object) -> list[str]:
    with Connection(daemon.socket) as connection:
        wanted = o.SearchLogParameters(name="job", text=text, **asked)  # type: ignore[arg-type]
        replies = list(connection.stream(o.SEARCH_LOG, wanted))
    assert replies[-1].match is None
    return [reply.match.text for reply in replies if reply.match is not None]


def test_a_log_is_searched_and_a_bad_pattern_is_refused(daemon: RunningDaemon) -> None:
    ended(daemon, "job", r"printf 'One\n10%%\r20%%\ntwo\n'")
    assert searched(daemon, "ONE") == ["One"]
    assert searched(daemon, "%") == ["20%"]
    assert searched(daemon, "^t.o$", regex=True) == ["two"]
    with pytest.raises(InvalidSetting, match=r"^a\( is not a valid RE2 regular expression: missing \): a\(\.$"):
        searched(daemon, "a(", regex=True)
