"""A request is resolved once, at admission; nothing after it asks presets, goals or files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.traced_request import RESOLVING, Tracer, trace_post


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer()
    yield tracer
    tracer.close()


async def test_a_warm_request_reads_no_preset_and_runs_each_step_of_the_resolution_once(
    tracer: Tracer, tmp_path: Path
) -> None:
    trace = await trace_post(tracer, tmp_path)
    assert trace.count("Resolver.resolve") == 1
    assert {name: trace.count(name) for name in RESOLVING if trace.count(name) > 1} == {}
    assert trace.preset_reads == 0
    # The device side was seen too, and looks up no name.
    assert trace.count("ModelManager.checkpoint") == 1
    assert trace.count("ModelFiles.look_up") == 0
