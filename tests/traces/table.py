# SPDX-License-Identifier: Apache-2.0
"""Makes the tables of docs/watchdog.md from the code and the trace collection.

python -m tests.traces.table            prints them
python -m tests.traces.table --write    puts them between the markers of docs/watchdog.md
"""

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fluxgym.watchdog import LIMITS
from fluxgymd.core.measures.span import span
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.observation import Observation
from tests.core.watchdog.usual import USUAL
from tests.traces.collection import HEALTHY, STUCK
from tests.traces.looking import first_stuck, looks, waited
from tests.traces.recorded import recorded
from tests.traces.simple import SIMPLE, Rule, older_program
from tests.traces.trace import Trace

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watchdog.md"
INTERVAL = 30.0


def ours(observations: Sequence[Observation], limits: Limits | None = None) -> float | None:
    """The watchdog's verdict as a rule like those of simple.py."""
    found = first_stuck(observations, limits or USUAL)
    return None if found is None else found[0].look.clock


def found_after(rule: Rule, trace: Trace, observations: Sequence[Observation]) -> str | float:
    """Returns the seconds from the hang to the look at which a rule ends the training, without the time in which no
    look was made; or "never"; or "before it hung"."""
    at = rule(observations)
    if at is None:
        return "never"
    if at < 1000 + (trace.run.hang_at or 0):
        return "before it hung"
    return waited(observations, trace.run, until=at, interval=INTERVAL)


def summary() -> str:
    """Returns the table of each rule's results on the whole collection."""
    healthy = [looks(trace.run) for trace in HEALTHY.traces]
    hung = [(trace, looks(trace.run)) for trace in STUCK.traces]
    rows = []
    for name, rule in {"FluxGym": ours, **SIMPLE}.items():
        ended = sum(rule(observations) is not None for observations in healthy)
        found = [(found_after(rule, trace, observations), trace.within or 0.0) for trace, observations in hung]
        in_time = sum(not isinstance(after, str) and after <= limit + INTERVAL for after, limit in found)
        late = sum(not isinstance(after, str) and after > limit + INTERVAL for after, limit in found)
        rows.append(
            (
                name,
                f"{ended} of {len(healthy)}",
                in_time,
                late,
                *(count(found, why) for why in ("never", "before it hung")),
            )
        )
    return table(("rule", "healthy runs ended", "hangs found in time", "found late", "never", "ended before"), rows)


def count(found: Iterable[tuple[str | float, float]], why: str) -> int:
    return sum(after == why for after, _ in found)


def healthy_runs() -> str:
    rows = []
    for trace in HEALTHY.traces:
        observations = looks(trace.run)
        rows.append((words(trace.name), trace.reason, *(ended(rule, observations) for rule in (ours, older_program))))
    for of in recorded():
        if of.header.expected == "healthy":
            rules = (partial(ours, limits=of.limits), older_program)
            told = (ended(rule, of.observations) for rule in rules)
            rows.append((f"{words(of.header.name)} (recorded)", of.header.reason, *told))
    return table(("healthy run", "what it does", "FluxGym", "the older program"), rows)


def ended(rule: Rule, observations: Sequence[Observation]) -> str:
    at = rule(observations)
    return "goes on" if at is None else f"**ended after {span(at - observations[0].clock)}**"


def hangs() -> str:
    rows = []
    for trace in STUCK.traces:
        observations = looks(trace.run)
        verdict = first_stuck(observations, trace.limits)
        rule = verdict[1].rule if verdict else ""
        mine, older = (found_after(rule, trace, observations) for rule in (ours, older_program))
        rows.append((words(trace.name), trace.reason, f"{duration(mine)}, {rule}", duration(older)))
    for of in recorded():
        if of.header.expected == "stuck":
            found = first_stuck(of.observations, of.limits)
            by = found[1].rule if found else "**never**"
            older = "never" if older_program(of.observations) is None else "found"
            rows.append((f"{words(of.header.name)} (recorded)", of.header.reason, by, f"**{older}**"))
    return table(("hang", "what happens", "FluxGym finds it after, by", "the older program"), rows)


def duration(after: str | float) -> str:
    return f"**{after}**" if isinstance(after, str) else span(after)


def limits() -> str:
    """Returns the table of the limits of each phase."""
    rows = [
        (phase.value, span(of.still), span(of.progress), span(of.total), "yes" if of.works_on_gpu else "no")
        for phase, of in USUAL.phases.items()
    ]
    return table(("phase", "nothing moves", "no work gets done", "nothing is counted", "works on the GPU"), rows)


def settings() -> str:
    """Returns the table of the limits that a user can set."""
    rows = [
        (f"`{limit.name}`", f"{limit.default:g}", f"{limit.low:g} to {limit.high:g} {limit.unit}", limit.help)
        for limit in LIMITS.values()
    ]
    return table(("name", "default", "range", "meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "summary": summary,
    "healthy": healthy_runs,
    "hangs": hangs,
    "limits": limits,
    "settings": settings,
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def filled(page: str) -> str:
    """Returns the page with each table between its markers. Raises ValueError if a table has no markers."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"docs/watchdog.md has no markers {begin} and {end}.")
        made = f"{begin}\n{make()}\n{end}"
        page = pattern.sub(lambda _, made=made: made, page)  # type: ignore[misc]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description="The tables of docs/watchdog.md.")
    parser.add_argument("--write", action="store_true", help="put them into the page")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text()))
        return
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")


if __name__ == "__main__":
    main()
