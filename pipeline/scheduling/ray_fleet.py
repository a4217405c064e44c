"""The workers of a Ray cluster: as many as its nodes have room for, while nodes come and go."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

import msgspec

from pipeline.errors import WorkerLost
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.ray_cluster import Node, Place, RayCluster
from pipeline.scheduling.ray_worker import RayWorker
from pipeline.scheduling.worker import DeviceState

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0  # between two looks at the nodes
ALL_GPUS: Final = -1


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How the cluster is divided into workers.

    ``gpus``: workers with a GPU each, at most; ``ALL_GPUS``: as many as there are. Where there is
    none, or it is 0, workers take ``cpus`` cores each; 0: all of a node's.
    """

    gpus: int = ALL_GPUS
    cpus: int = 0


def places(nodes: Sequence[Node], shares: Shares) -> tuple[Place, ...]:
    """Where workers are to run, in the order of the nodes."""
    gpus = [
        Place(node=node, cpus=0, gpus=1, threads=shares.cpus or max(1, int(node.cpus // node.gpus)))
        for node in nodes
        for _ in range(int(node.gpus))
    ]
    if shares.gpus != 0 and gpus:
        return tuple(gpus if shares.gpus == ALL_GPUS else gpus[: shares.gpus])
    found = []
    for node in nodes:
        cpus = shares.cpus or int(node.cpus)
        for _ in range(int(node.cpus // cpus) if cpus else 0):
            found.append(Place(node=node, cpus=cpus, gpus=0, threads=cpus))
    return tuple(found)


class RayFleet:
    """As ``WorkerSource``. ``build`` makes the function that builds a worker's engine: one with a
    GPU (True) or without."""

    def __init__(
        self, cluster: RayCluster, build: Callable[[bool], BuildEngine], shares: Shares
    ) -> None:
        self._cluster = cluster
        self._build = build
        self._shares = shares
        self._workers: list[RayWorker] = []
        self._error = ""

    @property
    def state(self) -> DeviceState | None:
        """As ``WorkerSource.state``."""
        if self._workers:
            return None
        if self._error:
            return DeviceState(name="ray", state="failed", error=self._error)
        return DeviceState(name="ray")

    async def keep(self, pool: WorkerPool) -> None:
        """As ``WorkerSource.keep``. Raises WorkerLost if Ray cannot be reached."""
        try:
            await asyncio.wrap_future(self._cluster.connect())
            _restore_signal_handlers()
            while True:
                self._match(await asyncio.wrap_future(self._cluster.nodes()), pool)
                await asyncio.sleep(LOOK_S)
        except WorkerLost as error:
            self._error = str(error)
            pool.tell_state()
            raise

    async def close(self) -> None:
        """As ``WorkerSource.close``. What the server started ends with its process, and actors
        with the server that made them; ``ray.shutdown`` would let a reader's next call end the
        process at once, with code 1."""

    def _match(self, nodes: Sequence[Node], pool: WorkerPool) -> None:
        """Have a worker at each place: those whose node is gone leave."""
        self._error = "" if nodes else "the cluster has no living node"
        wanted = list(places(nodes, self._shares))
        for worker in tuple(self._workers):
            place = next((place for place in wanted if place == worker.place), None)
            if place is not None:
                wanted.remove(place)
            else:
                log.warning("%s leaves: its node %s is gone", worker.name, worker.place.node.host)
                self._workers.remove(worker)
                pool.remove(worker)
        for place in wanted:
            worker = RayWorker(self._free_name(), self._build(place.gpus > 0), self._cluster, place)
            log.info("%s joins: node %s (%s)", worker.name, place.node.host, place.node.id[:8])
            self._workers.append(worker)
            pool.add(worker)

    def _free_name(self) -> str:
        taken = {worker.name for worker in self._workers}
        return next(name for number in count(1) if (name := f"ray-{number}") not in taken)


def _restore_signal_handlers() -> None:
    """Have the process's own handlers called again. Main thread only.

    Ray's C++ puts one in front of that of SIGTERM, which prints a stack trace first.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.getsignal(number))
        signal.siginterrupt(number, False)
