# SPDX-License-Identifier: Apache-2.0
"""Notifies people who are away of what happened to a job (docs/hooks.md).

notice.py   the object that a hook receives
calls.py    calls the hooks of an event: how many at once, for how long, and what happens on failure
program.py  one run of a hook's program
post.py     the program that posts to a webhook
desktop.py  a notification on the user's desktop
"""
