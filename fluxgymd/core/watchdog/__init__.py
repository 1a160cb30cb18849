# SPDX-License-Identifier: Apache-2.0
"""Is a training stuck? Pure: observations go in, a verdict with its reasons comes out (promise 7).

observation.py  what is seen at one look
limits.py       how long each phase may take
trail.py        the fold of the observations: since when nothing has moved
judge.py        the verdict
words.py        the verdict in plain words
"""
