"""What a test needs beside Python packages: skipped where it is missing, never in CI."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test that asks, naming what is not installed; a failure where ``CI`` is set."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(what)
