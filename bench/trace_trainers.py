# SPDX-License-Identifier: Apache-2.0
"""Small programs that run in place of the trainer while a trace is recorded: each does what its name says. What it
reports of its progress goes to metrics.jsonl, as from the real one.
"""

BEGIN = """
import json, os, sys, threading, time
if "--help" in sys.argv:
    sys.exit(0)
FILE = os.path.join(os.environ["TMPDIR"], "file.safetensors")
print("begins", flush=True)

def tell(phase, **values):
    with open(os.environ["FLUXGYM_METRICS"], "a") as file:
        print(json.dumps({"time": time.time(), "phase": phase, **values}), file=file)

def read_proc():
    while True:
        with open("/proc/kallsyms", "rb", buffering=0) as file:
            for _ in range(16): file.read(4096)
        time.sleep(0.25)

def write(size):
    with open(FILE, "wb") as file:
        for _ in range(size >> 20): file.write(bytes(1 << 20))
"""

TRAINERS = {
    "sleeps": """
time.sleep(1000)
""",
    "reads_proc": """
threading.Thread(target=read_proc).start()
""",
    "loads_and_reads_proc": """
write(64 << 20)
tell("loading")
with open(FILE, "rb", buffering=0) as file:
    while file.read(1 << 20): time.sleep(0.05)
read_proc()
""",
    "talks": """
import socket
mine, theirs = socket.socketpair()
if os.fork() == 0:
    while True: theirs.send(theirs.recv(1 << 16))
while True:
    mine.send(bytes(1 << 15))
    mine.recv(1 << 16)
    time.sleep(0.1)
""",
    "reads_a_model": """
write(64 << 20)
tell("loading")
with open(FILE, "rb", buffering=0) as file:
    file.seek(2 << 20)
    while file.read(20_000): time.sleep(0.1)
""",
    "downloads": """
tell("downloading")
with open(FILE + ".incomplete", "ab", buffering=0) as file:
    while True:
        file.write(bytes(20_000))
        time.sleep(0.1)
""",
    "repeats_steps": """
tell("training", step=0, totalSteps=64)
while True:
    for step in range(8):
        time.sleep(0.7)
        tell("training", step=step, totalSteps=64)
""",
    "starts_anew": """
while True:
    tell("loading")
    write(16 << 20)
    with open(FILE, "rb", buffering=0) as file:
        while file.read(1 << 20): time.sleep(0.05)
    for picture in range(8):
        tell("caching", done=picture, total=8)
        time.sleep(0.1)
    for step in range(8):
        tell("training", step=step, totalSteps=64)
        time.sleep(0.25)
    tell("saving", step=7, totalSteps=64)
    with open("recorded-000001.safetensors", "wb") as file: file.write(bytes(1 << 20))
""",
}


def source(name: str) -> str:
    return BEGIN + TRAINERS[name]
