# SPDX-License-Identifier: Apache-2.0
"""The daemon: owns the jobs, starts and watches their attempts, and never loses one.

Decisions are pure functions of facts (core/), and the I/O is around them: store/ keeps the journals, attempts/ runs
the trainers, gpus/ asks NVML, trainers/ knows their command lines, api/ answers the clients.
"""
