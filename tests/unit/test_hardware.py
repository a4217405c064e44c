"""What a device is called, with its memory."""

import re

import torch
from msgspec import UNSET

from pipeline.memory.device import describe_hardware
from pipeline.scheduling.engine_protocol import Hardware, Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import Reporter, Task

H200 = Hardware(description="cuda:0 NVIDIA H200", memory_bytes=150 * 10**9)


class Engine:
    """Knows its device and makes nothing."""

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        raise AssertionError

    def hardware(self) -> Hardware:
        return H200


def test_a_cpu_is_named_with_its_threads_and_the_machines_memory() -> None:
    told = describe_hardware(torch.device("cpu"))
    assert re.fullmatch(r"cpu \(\d+ threads?(, [\w -]+)?\)", told.description)
    assert told.memory_bytes > 2**28


def test_a_worker_that_is_ready_tells_what_auto_stands_for() -> None:
    worker = LocalWorker("auto", lambda _sink: Engine())
    before = worker.state
    try:
        assert worker.start(lambda _event: None).result(10) is None
        assert worker.state.name == "auto"
        assert (before.hardware, worker.state.hardware) == (UNSET, H200)
    finally:
        worker.close()
