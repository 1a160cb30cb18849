# SPDX-License-Identifier: Apache-2.0
"""The trace collection: what healthy and hung trainings look like to the watchdog, and how each must be judged.

simulator.py   a run made of parts, and what a look at it shows
parts.py       the parts that runs are made of, with the sources of their numbers
healthy.py     runs that must never be judged stuck
stuck.py       runs that must be, within their limit
recorded.py    traces recorded from real runs (recorded/*.jsonl)
looking.py     looks at a run, shifted, dropped or blinded, and the verdicts on them
simple.py      rules that are not enough, the older program's among them
"""
