"""What holds for every test: torch on one thread, and in CI the same generated inputs each time.

The networks are small, so more threads gain nothing; and torch's threads spin: beside another
process on two cores a test took fourteen times as long with two threads as with one.

A test's property named ``table`` is printed at the end of the run, also where several processes
ran the tests.

Hypothesis draws new inputs in each run of a developer. In CI it draws the same ones each time, so
that a change is judged by what it changes.
"""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the fault injection kills a server: a handful, or hundreds in a full run."""
    parser.addoption("--kills", type=int, default=5, help="kill -9 at so many random moments")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests recorded: a passing test's output is shown nowhere else."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in getattr(report, "user_properties", ()):
                if name == "table":
                    terminalreporter.write_sep("-", report.nodeid)
                    terminalreporter.write_line(str(text))
