# SPDX-License-Identifier: Apache-2.0
"""The GPUs of this machine, as NVML reports them."""
