"""The time limit of a benchmark: no part begins that would exceed it."""

import importlib

import pytest

from bench.time_budget import TimeBudget


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_part_without_time_is_not_measured_and_later_ones_may_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    budget = TimeBudget(100.0, clock)
    clock.now = 60.0
    with budget.part("long", 50.0) as has_time:
        assert not has_time
    with budget.part("short", 30.0) as has_time:
        assert has_time
        clock.now = 80.0
    told = capsys.readouterr().out
    assert "long: not measured, 40 s are left" in told
    assert "short: 20 s" in told


def test_a_part_that_the_machine_lacks_something_for_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TimeBudget(100.0).part("fp8", 1.0):
        importlib.import_module("a_module_that_is_not_there")
    assert "fp8: not available: No module named" in capsys.readouterr().out
