"""Workers for the devices that start options name: of this process, and of a Ray cluster."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from pipeline.engine.spec import EngineSpec, build_engine
from pipeline.files.model_server import ModelServer
from pipeline.scheduling.local_worker import BuildEngine, LocalWorker
from pipeline.scheduling.pool import WorkerSource
from pipeline.scheduling.ray_cluster import RayCluster
from pipeline.scheduling.ray_fleet import ALL_GPUS, RayFleet, Shares
from pipeline.scheduling.worker import Worker

LOCAL: Final = "local"


class RayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The start options of workers on Ray; at address ``LOCAL`` there are none."""

    address: str
    gpus: str  # how many, or "auto": all of the cluster
    cpus: int  # of a worker without a GPU
    models_url: str = ""  # where workers fetch model files; "": they see the server's folder
    api_key: str = ""  # for that address


def chosen_workers(
    devices: str, ray: RayOptions, spec: EngineSpec
) -> tuple[Sequence[Worker], WorkerSource | None]:
    """The workers that start options name, and what brings more of them.

    Raises ValueError for an empty list of devices, RayMissing without the package.
    """
    if ray.address == LOCAL:
        return local_workers(devices, spec), None
    shares = Shares(gpus=ALL_GPUS if ray.gpus == "auto" else int(ray.gpus), cpus=ray.cpus)
    local = () if devices == "auto" else local_workers(devices, spec)
    if ray.models_url:
        server = ModelServer(url=ray.models_url, key=ray.api_key)
        spec = msgspec.structs.replace(spec, model_server=server)
    return local, ray_fleet(ray.address, spec, shares)


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
