"""Whole requests over HTTP against the images that Fooocus 2.5.5's own worker made of them.

The cases, the images and the script that compares them lie in a folder beside the checkout.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT.parent / "shared" / "e2e" / "run.py"
SHORT = ("plain", "style-2", "guid-freeu", "cn-cpds", "ref-second-joint", "meta-a1111-ref")
DIFFERENT: Final = {
    # Recorded with channels-last pixels before the VAE encoder, where torch's GroupNorm is
    # inexact on a CPU; contiguous ones are encoded here (docs/same-picture.md).
    "out-left": 29.9,
}
"""PSNR in dB of the cases that are known to differ."""
TOLERANCE: Final = 0.5  # dB
LINE: Final = re.compile(
    r"^(?P<word>pass|FAIL) (?P<name>\S+) \d+ \[(?P<values>[^]]*)\].*$", re.MULTILINE
)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not SCRIPT.is_file(), reason="no whole tasks (shared/e2e beside the checkout)"
    ),
]


class Case(NamedTuple):
    """What the script says of a case, such as ``pass plain 200 [82.4]``."""

    passes: bool
    name: str
    worst: float  # the least PSNR of its images in dB; 0 without images
    line: str


def run(*names: str, timeout: float) -> list[Case]:
    """The outcome of each case; of all cases without names."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(ROOT), *names],
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
    cases = [
        Case(
            found["word"] == "pass",
            found["name"],
            min(map(float, filter(None, found["values"].split(","))), default=0.0),
            found[0].strip(),
        )
        for found in LINE.finditer(output)
    ]
    assert cases, output
    return cases


def surprise(case: Case) -> str:
    """What is not as expected of a case; empty where all is."""
    figure = DIFFERENT.get(case.name)
    if figure is None:
        return "" if case.passes else case.line
    if case.passes:
        return f"{case.line}: it is listed as different, and is not any more"
    if abs(case.worst - figure) > TOLERANCE:
        return f"{case.line}: it differs otherwise than listed ({figure} dB)"
    return ""


@pytest.mark.timeout(600)
def test_requests_of_several_kinds_make_the_reference_s_images() -> None:
    cases = run(*SHORT, timeout=580)
    assert [case.line for case in cases if not case.passes] == []
    assert len(cases) == len(SHORT)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_request_makes_the_reference_s_images(
    record_property: Callable[[str, object], None],
) -> None:
    """The table of all cases is printed at the end of the run, whatever comes of it."""
    cases = run(timeout=3500)
    passed = sum(case.passes for case in cases)
    record_property(
        "table", "\n".join([*(c.line for c in cases), f"{passed} of {len(cases)} cases pass"])
    )
    assert [said for case in cases if (said := surprise(case))] == []
    wanted = json.loads((SCRIPT.parent / "cases.json").read_text())
    assert [case.name for case in cases] == [case["id"] for case in wanted]
