# SPDX-License-Identifier: Apache-2.0
"""One file for each verb; its `command` is loaded only when the verb is called or help is wanted."""
