"""Workers for the devices that start options name: of this process, and of a Ray cluster."""

from functools import partial

import msgspec

from pipeline.engine.spec import EngineSpec, build_engine
from pipeline.scheduling.local_worker import BuildEngine, LocalWorker
from pipeline.scheduling.ray_cluster import RayCluster
from pipeline.scheduling.ray_fleet import RayFleet, Shares


def local_workers(devices: str, spec: EngineSpec) -> tuple[LocalWorker, ...]:
    """One worker per device of a comma-separated list, each with an engine as ``spec`` says.

    Raises ValueError for an empty list.
    """
    names = dict.fromkeys(name.strip() for name in devices.split(",") if name.strip())
    if not names:
        raise ValueError("--device names no device; leave it out for the best one")
    specs = [msgspec.structs.replace(spec, device=name) for name in names]
    return tuple(LocalWorker(each.device, partial(build_engine, each)) for each in specs)


def ray_fleet(address: str, spec: EngineSpec, shares: Shares) -> RayFleet:
    """The workers of a Ray cluster, each with an engine as ``spec`` says. Raises RayMissing."""

    def build(has_gpu: bool) -> BuildEngine:  # Ray shows it one GPU
        device = "cuda" if has_gpu else "cpu"
        return partial(build_engine, msgspec.structs.replace(spec, device=device))

    return RayFleet(RayCluster(address, spec.project_dir), build, shares)
