# SPDX-License-Identifier: Apache-2.0
"""Lines of a journal: each event is read back as it was written, also between versions that know different fields."""

import msgspec
import pytest

from fluxgymd.core.journal import events as e
from tests.core import histories as h

ALL = h.next_events(1)

# Lines as they are on users' disks. Never change them: every later version must be able to read them.
FROZEN = {
    "submitted": '{"event":"submitted","at":1.5,"id":"00","context":{"name":"cat","epochs":2},"rank":1.5}',
    "reserved": (
        '{"event":"reserved","at":2.0,"attempt":1,"adapter":"scope","unit":"fluxgym-cat-00.001.scope","mark":"aa",'
        '"place":{"machineId":"m","bootId":"b","pidNamespace":"pid:[1]","initStart":7},"gpus":["GPU-1"],'
        '"logOffset":5,"metricsOffset":6,"resumedFrom":"cat-000004-state","step":40,'
        '"finalBefore":{"inode":1,"size":2,"modifiedNs":3}}'
    ),
    "spawned": '{"event":"spawned","at":3.0,"attempt":1,"shim":{"pid":100,"start":1000}}',
    "placed": (
        '{"event":"placed","at":4.0,"attempt":1,"placement":{"unit":"u.scope","invocationId":"i","cgroup":"/u.scope"}}'
    ),
    "started": '{"event":"started","at":5.0,"attempt":1,"trainer":{"pid":101,"start":1001}}',
    "stop_asked": '{"event":"stop_asked","at":6.0,"attempt":1}',
    "unsupervised": '{"event":"unsupervised","at":6.5,"attempt":1}',
    "sight_lost": '{"event":"sight_lost","at":7.0,"attempt":1,"why":"gone"}',
    "sight_regained": '{"event":"sight_regained","at":8.0,"attempt":1}',
    "ended": (
        '{"event":"ended","at":9.0,"attempt":1,"outcome":"failed","reason":"r","proof":"p",'
        '"exit":{"kind":"signaled","signal":9,"termSeen":true,"oomKills":1,"userSeconds":0.5,"bootId":"b"},'
        '"step":50,"checkpointStep":40,"stepsLost":10}'
    ),
    "cancelled": '{"event":"cancelled","at":10.0}',
    "resume_asked": '{"event":"resume_asked","at":11.0}',
    "held": '{"event":"held","at":12.0}',
    "released": '{"event":"released","at":13.0}',
    "moved": '{"event":"moved","at":14.0,"priority":-3,"rank":1.25}',
    "edited": '{"event":"edited","at":15.0,"context":{"name":"cat","epochs":3,"restart":"on_failure"}}',
    "watchdog_set": '{"event":"watchdog_set","at":15.5,"mode":"off"}',
    "barred": '{"event":"barred","at":16.0,"reason":"r","failure":"not_resumable"}',
    "disowned": '{"event":"disowned","at":17.0,"attempt":1}',
    "stuck": '{"event":"stuck","at":19.0,"attempt":1,"rule":"still","why":"w","since":5.0}',
    "restored": '{"event":"restored","at":21.0,"removedAt":20.0}',
    "annotated": '{"event":"annotated","at":20.0,"annotation":{"tags":["good"],"best":"cat.safetensors"}}',
    "imported": '{"event":"imported","at":18.0,"outcome":"failed","reason":"r","failure":"disk_full"}',
}

# The same kinds of events with all fields that were added later; FROZEN has the lines without them.
LONGER = {
    "submitted": (
        '{"event":"submitted","at":1.5,"id":"00","context":{"name":"cat","kind":"program","program":["/bin/true"],'
        '"priority":4,"held":true,"after":["dog"],"gpus":["0"],"gpuCount":2,"restart":"never","keepStates":1,"resumeFrom":{"job":"dog","checkpoint":"dog-000002-state"}},'
        '"priority":4,"rank":1.5,"number":7,"copied":{"pictures":2,"names":"ab"},"step":32}'
    ),
    "reserved": (
        '{"event":"reserved","at":2.0,"attempt":1,"adapter":"process","unit":"u","mark":"aa",'
        '"place":{"machineId":"m","bootId":"b","pidNamespace":"pid:[1]","initStart":7},"gpus":[],'
        '"logOffset":5,"metricsOffset":6,"logInode":7,"metricsInode":8,"setAside":["cat-000004-state.broken-1"],'
        '"temporary":"/tmp/fluxgym-aa"}'
    ),
    "stop_asked": (
        '{"event":"stop_asked","at":6.0,"attempt":1,"afterCheckpoint":true,"newestCheckpoint":"cat-000004-state"}'
    ),
    "stuck": (
        '{"event":"stuck","at":19.0,"attempt":1,"rule":"still","why":"w","since":5.0,"evidence":["e"],'
        '"phase":"training","step":40,"acts":true}'
    ),
    "watchdog_set": '{"event":"watchdog_set","at":15.5,"mode":"warn","until":3615.5}',
    "ended": (
        '{"event":"ended","at":9.0,"attempt":1,"outcome":"failed","reason":"r","proof":"p",'
        '"failure":"gpu_out_of_memory","again":true,"notBefore":39.0,"logSize":12,"energy":0.5}'
    ),
}


@pytest.mark.parametrize("kind", ALL)
def test_an_event_is_read_back_equal(kind: str) -> None:
    line = e.encode(ALL[kind])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert e.decode(line) == ALL[kind]


def test_each_event_has_a_frozen_line() -> None:
    tags = {str(event.__struct_config__.tag) for event in ALL.values()}
    assert set(FROZEN) == tags


@pytest.mark.parametrize(("kind", "line"), [*FROZEN.items(), *LONGER.items()])
def test_promise_9_a_line_of_an_earlier_version_is_read_and_written_unchanged(kind: str, line: str) -> None:
    event = e.decode(line.encode())
    assert event.__struct_config__.tag == kind
    assert e.encode(event).decode() == line + "\n"


def test_each_field_of_each_event_is_in_a_frozen_line() -> None:
    for event in ALL.values():
        tag = str(event.__struct_config__.tag)
        frozen = "".join(lines[tag] for lines in (FROZEN, LONGER) if tag in lines)
        for field in msgspec.structs.fields(event):
            assert f'"{field.encode_name}":' in frozen or field.name == "version", (tag, field.name)


@pytest.mark.parametrize("kind", FROZEN)
def test_a_field_of_a_newer_version_is_ignored(kind: str) -> None:
    longer = FROZEN[kind][:-1] + ',"colour":{"deep":["blue"]}}'
    assert e.decode(longer.encode()) == e.decode(FROZEN[kind].encode())


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"teleported","at":1.0}',
        b'{"at":1.0}',
        b'{"event":"cancelled"}',
        b'{"event":"cancelled","at":"noon"}',
        b'{"event":"stop_asked","at":1.0,"attempt":1.5}',
        b'{"event":"stop_asked","at":1.0}',
        b'{"event":"submitted","at":1.5,"id":"00","context":{"name":"cat"},"rank":1.5,"number":9007199254740993}',
        b'{"event":"submitted","at":1.5,"id":"00","context":{"name":"cat"},"rank":1.5,"number":-1}',
        b'{"event":"submitted","at":1.5,"id":"00","context":{"name":"cat"},"rank":1e16}',
        b'{"event":"moved","at":14.0,"priority":0,"rank":-1e16}',
        b"[]",
        b"",
        b"\0\0\0\0",
        b'{"event":"stop_asked","at":1.0,"attempt":1,"newestCheck\xffpoint":"cat-000002-state"}',
        b'{"event":"cancelled","at":1.0}{"event":"cancelled","at":1.0}',
    ],
)
def test_a_line_that_is_not_an_event_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        e.decode(line)


def test_a_newline_in_a_setting_stays_inside_its_line() -> None:
    event = h.submitted(name="a\nb")
    assert e.encode(event).count(b"\n") == 1
    assert e.decode(e.encode(event)) == event
