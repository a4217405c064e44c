"""A server process whose processor time and memory are read; of this build or of another one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from tools.server_process import ROOT, ServerProcess

MEBIBYTE: Final = 2**20


class MeasuredServer(ServerProcess):
    """As ``ServerProcess``. ``checkout`` is the folder of the build to run."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        checkout: Path = ROOT,
        program: str = "server.py",
    ) -> None:
        super().__init__(folder, arguments, program=checkout / program)
        self._usage = psutil.Process(self.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far, in steps of 10 ms."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    @property
    def cpu_ns(self) -> int:
        """Processor time of the threads that live now, in nanoseconds (Linux)."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads)

    @property
    def resident_mib(self) -> float:
        """Memory that is resident now."""
        return float(self._usage.memory_info().rss / MEBIBYTE)
