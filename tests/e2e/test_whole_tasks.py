"""Whole requests over HTTP against the images that Fooocus 2.5.5's own worker made of them.

The cases, the images and the script that compares them lie in a folder beside the checkout.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT.parent / "shared" / "e2e" / "run.py"
SHORT = ("plain", "style-2", "guid-freeu", "cn-cpds", "ref-second-joint", "meta-a1111-ref")

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not SCRIPT.is_file(), reason="no whole tasks (shared/e2e beside the checkout)"
    ),
]


def run(*cases: str, timeout: float) -> list[str]:
    """The script's line a case, such as ``pass plain 200 [82.4]``; all cases without names."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(ROOT), *cases],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as script:
        try:
            output, _ = script.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(script.pid, signal.SIGKILL)  # with the server that it started
            raise
    lines = [line for line in output.splitlines() if line.startswith(("pass ", "FAIL "))]
    assert lines, output
    return lines


@pytest.mark.timeout(600)
def test_requests_of_several_kinds_make_the_reference_s_images() -> None:
    lines = run(*SHORT, timeout=580)
    assert [line for line in lines if not line.startswith("pass ")] == []
    assert len(lines) == len(SHORT)
