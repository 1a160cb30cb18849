# SPDX-License-Identifier: Apache-2.0
"""The verbs about jobs, and about what they train on and with. One file for each, whose `command` is loaded only when
the verb is called or the help is shown."""
