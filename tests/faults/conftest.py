"""A house for each fault, and the table of what was lost, printed at the end of the run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.house import House, Receiver

_TABLE: Final = pytest.StashKey[list[tuple[str, int, int]]]()
Account = Callable[[str, int, list[str]], None]
"""Notes a fault, how often it was injected and what was lost, and fails if anything was."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Account:
    table = request.config.stash.setdefault(_TABLE, [])

    def note(fault: str, times: int, lost: list[str]) -> None:
        table.append((fault, times, len(lost)))
        assert lost == []

    return note


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The rows of docs/reliability.md."""
    if not (table := config.stash.get(_TABLE, [])):
        return
    terminalreporter.section("faults")
    for fault, times, lost in table:
        terminalreporter.write_line(f"| {fault} | {times} | {lost or 'nothing'} |")
