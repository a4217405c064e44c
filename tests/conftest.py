"""Torch on one thread for every test and every server that a test starts.

The networks are small, so more threads gain nothing; and torch's threads spin: beside another
process on two cores a test took fourteen times as long with two threads as with one.
"""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the fault injection kills a server: a handful, or hundreds in a full run."""
    parser.addoption("--kills", type=int, default=5, help="kill -9 at so many random moments")
