"""The connection to a Ray cluster. The only module that imports ray, and only when it connects."""

import contextlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import msgspec

from pipeline.errors import WorkerLost
from pipeline.scheduling.device_thread import DeviceThread
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.ray_actor import WorkerActor

log = logging.getLogger(__name__)

T = TypeVar("T")
LOCAL: Final = "ray"
LOCAL_ADDRESS: Final = "local"  # as ray.init calls a Ray of its own
_AUTH: Final = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
SCHEME: Final = "ray://"
DEFAULT_PORT: Final = 6379  # of a cluster's head
RAY_MISSING: Final = (
    "--workers asks for Ray, which is not installed:"
    " .venv/bin/python -m pip install -r requirements-ray.txt"
)


class RayMissing(ValueError):
    """The package ray is not installed."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A living machine of the cluster (strictly a raylet: a machine may run several)."""

    id: str
    host: str
    cpus: float
    gpus: float


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an actor runs and what it takes of that node."""

    node: Node
    cpus: float
    gpus: float
    threads: int  # of its arithmetic: Ray would set OMP_NUM_THREADS to 1


class RayCluster:
    """Starts a Ray on this machine, or joins one. Any thread may call its methods.

    ``submit`` runs calls one after another on one thread, which also connects. It lives as long as
    the process: the kernel kills what ``ray.init`` started when the thread that did it ends
    (``PR_SET_PDEATHSIG``). Connecting on a thread other than the main one has a second
    reason: there, Ray leaves the process's handler of SIGTERM alone.
    """

    def __init__(self, address: str, code_dir: str) -> None:
        """``address``: ``ray`` starts one; ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT`` joins the
        cluster of that head, to which this machine belongs. Workers import our code from
        ``code_dir``. Raises RayMissing."""
        if importlib.util.find_spec("ray") is None:
            raise RayMissing(RAY_MISSING)
        self._address = _ray_address(address)
        self._code_dir = code_dir
        self._ray: Any = None  # the module, once connected
        self._calls = DeviceThread("ray", _explain)
        self._looks = DeviceThread("ray-nodes", _explain)  # may block for long without a head

    def connect(self) -> Future[None]:
        """Connect, unless that is done. The future raises WorkerLost."""
        return self._calls.submit(self._connect)

    def nodes(self) -> Future[Sequence[Node]]:
        """The living nodes. The future raises WorkerLost."""
        return self._looks.submit(self._nodes)

    def submit(self, call: Callable[[], None]) -> None:
        """Run a short call after all earlier ones; one to a dead actor does nothing."""

        def quietly() -> None:
            with contextlib.suppress(*self._errors()):
                call()

        self._calls.submit(quietly)

    def close(self) -> Future[None]:
        """Leave the cluster, and end it if it was started here. For a process that goes on, when
        all workers are closed: Ray ends a process whose threads still call it."""
        return self._calls.submit(self._close)

    def open_actor(self, name: str, build: BuildEngine, place: Place) -> "RayActor":
        """Have an actor made, and started once Ray has room for it. Raises WorkerLost."""
        ray = self._ray
        if ray is None:
            raise WorkerLost("Ray is not connected")
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        options = {
            "num_cpus": place.cpus,
            "num_gpus": place.gpus,
            "max_concurrency": 2,  # see WorkerActor
            "max_restarts": 0,  # the pool restarts workers, with growing pauses
            "max_task_retries": 0,
            "scheduling_strategy": affinity(place.node.id, soft=False),
            "runtime_env": {
                "env_vars": {
                    "PYTHONPATH": f"{self._code_dir}:${{PYTHONPATH}}",
                    "OMP_NUM_THREADS": str(place.threads),
                }
            },
        }
        try:
            actor_class = ray.remote(**options)(WorkerActor)
            actor = actor_class.remote(name, build, logging.getLogger().getEffectiveLevel())
        except self._errors() as error:
            raise WorkerLost(_first_line(error)) from None
        return RayActor(ray, actor, self._errors())

    def _connect(self) -> None:
        if self._ray is not None:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports to its makers
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # of the workers' lines in the log
        if self._address == LOCAL_ADDRESS and not any(name in os.environ for name in _AUTH):
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else it writes one to ~/.ray
        import ray  # noqa: PLC0415 - an optional package that takes a second
        import ray.util.scheduling_strategies  # noqa: PLC0415

        ray.init(
            address=self._address,
            include_dashboard=False if self._address == LOCAL_ADDRESS else None,
            logging_level=logging.ERROR,
        )
        self._ray = ray
        log.info("connected to Ray %s: %s", ray.__version__, self._address)

    def _nodes(self) -> Sequence[Node]:
        if self._ray is None:
            raise WorkerLost("Ray is not connected")
        return tuple(
            Node(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
            )
            for node in self._ray.nodes()
            if node["Alive"]
        )

    def _close(self) -> None:
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _errors(self) -> tuple[type[Exception], ...]:
        """What Ray raises where an actor or the cluster is gone."""
        return (self._ray.exceptions.RayError, RuntimeError) if self._ray else (RuntimeError,)


class RayActor:
    """One living ``WorkerActor``."""

    def __init__(self, ray: Any, handle: Any, errors: tuple[type[Exception], ...]) -> None:
        self.handle = handle
        self._ray = ray
        self._errors = errors

    def batches(self) -> Iterator[bytes]:
        """What the actor sends. Blocks; raises WorkerLost when the actor is gone."""
        try:
            while True:
                for reference in self.handle.messages.options(num_returns="streaming").remote():
                    yield self._ray.get(reference)
        except self._errors as error:
            raise WorkerLost(_first_line(error)) from None

    def kill(self) -> None:
        """End its process at once. Raises what Ray raises."""
        self._ray.kill(self.handle)


def _ray_address(asked: str) -> str:
    """An address as ``ray.init`` takes it. Ray's own ``ray://`` is Ray Client, which has no
    streaming calls; here it names the head."""
    if asked == LOCAL:
        return LOCAL_ADDRESS  # without it, ray.init joins a cluster that happens to run
    address = asked.removeprefix(SCHEME)
    return address if address == "auto" or ":" in address else f"{address}:{DEFAULT_PORT}"


def _explain(error: BaseException) -> WorkerLost:
    log.debug("Ray", exc_info=error)
    return error if isinstance(error, WorkerLost) else WorkerLost(f"Ray: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
