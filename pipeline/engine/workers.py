"""Workers of this process for the devices that a start option names."""

from functools import partial

import msgspec

from pipeline.engine.spec import EngineSpec, build_engine
from pipeline.scheduling.local_worker import LocalWorker


def local_workers(devices: str, spec: EngineSpec) -> tuple[LocalWorker, ...]:
    """One worker per device of a comma-separated list, each with an engine as ``spec`` says.

    Raises ValueError for an empty list.
    """
    names = dict.fromkeys(name.strip() for name in devices.split(",") if name.strip())
    if not names:
        raise ValueError("--device names no device; leave it out for the best one")
    specs = [msgspec.structs.replace(spec, device=name) for name in names]
    return tuple(LocalWorker(each.device, partial(build_engine, each)) for each in specs)
