# SPDX-License-Identifier: Apache-2.0
"""One file for each verb. Its `command` is loaded only when the verb is called or the help is shown."""
