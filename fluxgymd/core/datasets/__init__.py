# SPDX-License-Identifier: Apache-2.0
"""The decisions about stored datasets: pure functions over the events of their journals."""
