# SPDX-License-Identifier: Apache-2.0
"""The part of the daemon's environment that a job inherits: an allow-list.

With NOTIFY_SOCKET, a trainer could tell systemd that the daemon is stopping; WATCHDOG_*, LISTEN_* and
CREDENTIALS_DIRECTORY are meant for the daemon alone. So only variables that are known to be needed are passed on: the
user's identity and folders, the language, the locations of caches, network proxies, and the tuning of libraries.
Python's own variables are left out because the trainer has its own Python environment, and secrets are left out until
a kind of job needs one. See also docs/decisions/attempts.md.
"""

import re
from collections.abc import Mapping

PASSED = frozenset(
    (
        *("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
        "LD_LIBRARY_PATH",
        "FLUXGYM_CACHES",  # store/caches/shared_caches.py
        "FLUXGYM_FAILPOINTS",  # the shim has failpoints too (fluxgymd/failpoints.py)
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
    """The part of `environ` that a job gets. Its own variables are added by the caller."""
    return {
        name: value
        for name, value in environ.items()
        if (name in PASSED or name.startswith(PASSED_FAMILIES)) and not SECRET.search(name)
    }
