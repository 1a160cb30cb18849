# SPDX-License-Identifier: Apache-2.0
"""The trace collection: what healthy and hung trainings look like to the watchdog, and how each must be judged.

simulator.py      a run that consists of parts, and the look at any moment of it
parts.py          the parts, with the sources of their numbers
healthy.py        runs that must never be judged stuck
healthy_signs.py  more of them, with few signs of life, or with signs that may belong to other programs
stuck.py          runs that hang, and must be judged stuck within their limit
stuck_signs.py    more of them, beside which something moves that is not the job's progress
collection.py     all simulated traces
recorded.py       traces recorded from real runs (recorded/*.jsonl)
looking.py        looks at a run, shifted, dropped or blinded, and the verdicts on them
simple.py         rules that are not enough, those of the older program among them
"""
