"""A Ray on this machine for all tests of this folder; without the package they are skipped."""

import importlib.util
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from pipeline.scheduling.ray_cluster import RayCluster
from pipeline.scheduling.ray_fleet import RayFleet, Shares
from tests.ray.engines import build_sketcher
from tests.ray.house import RayHouse
from tools.server_process import ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All are slow, and Ray's own code warns of what we cannot change."""
    missing = importlib.util.find_spec("ray") is None
    for item in items:
        if item.path.parent.name == "ray":
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            if missing:
                item.add_marker(pytest.mark.skip(reason="ray is not installed: make test-ray"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """One for the session: Ray takes ten seconds to start."""
    cluster = RayCluster("ray", str(ROOT))
    cluster.connect().result(120)
    yield cluster
    cluster.close().result(60)


@pytest_asyncio.fixture
async def house(cluster: RayCluster) -> AsyncIterator[RayHouse]:
    """An executor whose only workers are two actors of one core each."""
    fleet = RayFleet(cluster, lambda _has_gpu: build_sketcher, Shares(gpus=0, cpus=1))
    house = RayHouse(fleet)
    house.executor.start(house)
    try:
        await house.ready(2)
        yield house
    finally:
        await house.executor.close(grace_s=0.1)
