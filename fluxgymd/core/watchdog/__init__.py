# SPDX-License-Identifier: Apache-2.0
"""Decides whether a training is stuck. Pure: observations go in, a verdict with its reasons comes out (promise 7).

observation.py  the facts of one look
limits.py       how long each phase may take
attribution.py  which program causes the utilisation of a GPU
movement.py     what moved between two looks
faults.py       errors of the GPU that a training doesn't survive
trail.py        the fold of the observations: since when nothing has moved
judge.py        the verdict
verdict.py      the types of verdicts
signs.py        the evidence, in sentences
words.py        the verdict in plain words
watched.py      whether a job is to be judged at present
settings.py     what the configuration and the job's settings ask for
"""
