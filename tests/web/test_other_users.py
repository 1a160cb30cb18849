# SPDX-License-Identifier: Apache-2.0
"""Another user of the machine reaches the web server's port, but gets no access from it or from the user's files."""

import pytest

from fluxgym import web_access
from tests.harness.other_user import NOBODY, ROOT_UID, run_as
from tests.web.serving import RunningWeb

ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=dict(word.split("=", 1) for word in sys.argv[2:]))
try:
    print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""

READ = """
import os, sys
found = []
for folder, _, names in os.walk(sys.argv[1], onerror=lambda error: found.append(type(error).__name__)):
    for name in names:
        try:
            open(os.path.join(folder, name)).close()
            found.append(name)
        except OSError as error:
            found.append(type(error).__name__)
print(*sorted(set(found)))
"""


@pytest.mark.parametrize(
    "path", ["/", "/system", "/api/v1/summary", "/api/v1/live?jobs=1", "/api/v1/files/a/training.log"]
)
def test_promise_10_another_user_needs_the_token_too(shared_web: RunningWeb, path: str) -> None:
    url = shared_web.base + path
    assert run_as(NOBODY, ASK, url) == "401"
    assert run_as(NOBODY, ASK, url, "Authorization=Bearer guessed") in ("401", "429")
    if "live" not in path:  # which never ends
        token = f"Authorization=Bearer {shared_web.token}"
        assert run_as(ROOT_UID, ASK, url, token) == ("404" if "files" in path else "200")


def test_promise_10_another_user_can_read_neither_the_token_nor_a_link(shared_web: RunningWeb) -> None:
    state = shared_web.state
    web_access.new_link(state)
    for folder in (state.parents[2], state.parents[1], state.parent):
        folder.chmod(0o755)  # even if what is around it is open
    assert run_as(NOBODY, READ, str(state)) == "PermissionError"
    assert "token" in run_as(ROOT_UID, READ, str(state)).split()
    assert run_as(NOBODY, ASK, f"{shared_web.base}/enter?code=guessed") in ("403", "429")
