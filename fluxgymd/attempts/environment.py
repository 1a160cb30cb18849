# SPDX-License-Identifier: Apache-2.0
"""What a job inherits from the daemon's environment: an allow-list (daemons.md 2.7).

A trainer that got NOTIFY_SOCKET could tell systemd that the daemon stops, and one that got WATCHDOG_*, LISTEN_* or
CREDENTIALS_DIRECTORY would hold what is not its own. So nothing is passed but what is known to be needed:
who and where the user is, the language, where caches lie, the network's proxies, and the tuning of the libraries.
Python's own variables are not: the trainer has an environment of its own. Secrets are not either, until a kind of job
needs one.
"""

import re
from collections.abc import Mapping

PASSED = frozenset(
    (
        *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
        "LD_LIBRARY_PATH",
        "FLUXGYM_FAILPOINTS",  # the shim has some too (fluxgymd/failpoints.py)
        *("CC", "CXX"),  # triton and torch.compile call a compiler
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    )
)
PASSED_FAMILIES = (
    *("LC_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH", "PYTORCH_", "TRITON_", "OMP_", "KMP_", "MKL_", "OPENBLAS_"),
    *("HF_", "TRANSFORMERS_", "DIFFUSERS_", "SAFETENSORS_"),
)
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|API_?KEY")


def job_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that a job gets; its own variables come on top."""
    return {
        name: value
        for name, value in environ.items()
        if (name in PASSED or name.startswith(PASSED_FAMILIES)) and not SECRET.search(name)
    }
