# SPDX-License-Identifier: Apache-2.0
"""Telling people who are away what happened to a job (docs/hooks.md).

notice.py   the object that a hook gets
calls.py    from an event of a job to its hooks: how many, how long, and what becomes of a failure
program.py  one run of a hook's program
post.py     the program that posts to a webhook
desktop.py  a notification on the user's desktop
"""
