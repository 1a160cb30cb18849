# SPDX-License-Identifier: Apache-2.0
"""Is a training stuck? Pure: observations go in, a verdict with its reasons comes out (promise 7).

observation.py  what is seen at one look
limits.py       how long each phase may take
movement.py     what moved between two looks
faults.py       errors of the GPU that a training does not survive
trail.py        the fold of the observations: since when nothing has moved
judge.py        the verdict
signs.py        what is seen, in sentences: the evidence
words.py        the verdict in plain words
"""
