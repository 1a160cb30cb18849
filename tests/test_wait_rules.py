# SPDX-License-Identifier: Apache-2.0
"""Checks that every wait in a test or a bench has a deadline, so that a hung process fails one test, not the run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tests", "bench")

RUNNERS = {"run", "call", "check_call", "check_output"}
"""The functions of `subprocess` that wait for the process."""
BARE = {"wait", "join", "get"}
"""Methods that wait forever if called without an argument. An argument is a key, a path, or the deadline itself."""
DEADLINES = {"timeout", "timeout_at"}

EXEMPT = {
    # This program is PID 1 of a namespace, or waits for the command that it started. It lives as long as they do, and
    # the kernel ends it with the test run.
    "tests/harness/namespace_tool.py",
    # Its workers run for hours; each wait within a round has its own deadline.
    "tests/settings/soak.py",
}


def unbounded(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of each call that waits without a deadline."""
    yield from _unbounded(tree, bounded=False)


def _unbounded(node: ast.AST, *, bounded: bool) -> Iterator[tuple[int, str]]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            bounded = False  # the body runs later, perhaps after the block around it has ended
        case ast.AsyncWith(items=items) if any(_is_call_of(item.context_expr, DEADLINES) for item in items):
            bounded = True
        case ast.Await(value=ast.Call() as call) if _is_call_of(call, {"wait_for"}):
            bounded = True
        case ast.Call() if _waits(node) and not bounded:
            yield node.lineno, ast.unparse(node.func)
    for child in ast.iter_child_nodes(node):
        yield from _unbounded(child, bounded=bounded)


def _waits(call: ast.Call) -> bool:
    if any(word.arg == "timeout" for word in call.keywords):
        return False
    if not isinstance(call.func, ast.Attribute):
        return False
    name = call.func.attr
    if ast.unparse(call.func.value) == "subprocess":
        return name in RUNNERS
    return name == "communicate" or (name in BARE and not call.args and not call.keywords)


def _is_call_of(node: ast.expr, names: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in names


def breaches(path: str, source: str) -> list[str]:
    if path in EXEMPT:
        return []
    return [
        f"{path}:{line} {call}() waits without a deadline; pass timeout= (tests.harness.waiting has two defaults)"
        for line, call in unbounded(ast.parse(source))
    ]


def test_every_wait_has_a_deadline() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 200
    found = [breach for path in files for breach in breaches(str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "\n".join(found)


def test_the_exempt_files_exist() -> None:
    assert [path for path in EXEMPT if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(['true'])",
        "subprocess.check_output(['true'], text=True)",
        "process.wait()",
        "trainer.process.communicate()",
        "process.communicate(b'word')",
        "thread.join()",
        "queue.get()",
        "async def f():\n    await event.wait()",
        "async def f():\n    async with lock:\n        await event.wait()",
        "async with asyncio.timeout(9):\n    async def f():\n        await event.wait()",
        "asyncio.timeout(9)\nevent.wait()",
    ],
)
def test_a_wait_without_a_deadline_is_found(source: str) -> None:
    (breach,) = breaches("tests/x.py", source)
    assert "waits without a deadline" in breach


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(['true'], timeout=9)",
        "process.wait(timeout=9)",
        "process.wait(SECONDS)",
        "process.communicate('word', timeout=9)",
        "daemon.wait('my-lora', State.COMPLETED)",  # a method of the harness, which has its own deadline
        "', '.join(words)",
        "settings.get('name')",
        "queue.get(timeout=9)",
        "async with asyncio.timeout(9):\n    await event.wait()",
        "async with asyncio.timeout(9), lock:\n    await event.wait()",
        "await asyncio.wait_for(event.wait(), 9)",
    ],
)
def test_a_wait_with_a_deadline_is_allowed(source: str) -> None:
    assert breaches("tests/x.py", source) == []
