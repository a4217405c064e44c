"""How much of our code does one warm text-to-image POST run, and what does it read and resolve?

The whole server runs in this process on the embedded model; a profile hook in every thread sees the
functions that are called between sending the request and its record. Baseline: 431 functions in 85
files, with preset files read 8 times and parameters checked 11 times (commit 167bd68).
"""

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

import pipeline.engine.engine  # noqa: F401 - torch is imported before the hook slows it down
from server import create_app
from settings import Settings

ROOT: Final = Path(__file__).resolve().parents[1]
OURS: Final = tuple(f"{ROOT / name}/" for name in ("handlers", "storage", "pipeline", "bus"))
BODY: Final = {"prompt": "a red star on a blue background", "image_seed": 7, "overwrite_step": 4}
_DECODE_PRESET: Final = ("pipeline/request/presets.py", "_decode")
# Functions that run once a request, or not at all.
RESOLVING: Final = (
    "request_from",
    "PresetStore.apply",
    "PresetStore.describing",
    "preset_values",
    "read_goals",
    "read_stages",
    "fast_mode",
    "image_size",
    "resolve_params",
    "Resolver.resolve",
)


class Trace(msgspec.Struct, frozen=True):
    """What ran: calls by (file, function)."""

    calls: Counter[tuple[str, str]]

    @property
    def files(self) -> list[str]:
        """Our source files of which something ran."""
        return sorted({file for file, _ in self.calls})

    def count(self, function: str) -> int:
        """How often a function of that qualified name ran."""
        return sum(count for (_, name), count in self.calls.items() if name == function)

    @property
    def preset_reads(self) -> int:
        """How often a preset file was read and decoded."""
        return self.calls[_DECODE_PRESET]


class Tracer:
    """Counts calls of our functions, on this thread and those that start after it was made."""

    def __init__(self) -> None:
        self._codes: list[CodeType] = []
        self._recording = False
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)

    def start(self) -> None:
        """Forget what was seen, and record."""
        self._codes.clear()
        self._recording = True

    def stop(self) -> Trace:
        """What was seen since ``start``."""
        self._recording = False
        calls = Counter(
            (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname)
            for code in self._codes
            if code.co_filename.startswith(OURS)
        )
        return Trace(calls)

    def close(self) -> None:
        """Remove the profile hook from this thread and those to come."""
        threading.setprofile(None)
        sys.setprofile(None)

    def _hook(self, frame: FrameType, event: str, _arg: object) -> None:
        if self._recording and event == "call":
            self._codes.append(frame.f_code)


async def trace_post(tracer: Tracer, folder: Path) -> Trace:
    """The third of three equal requests: by then everything is loaded and cached."""
    settings = Settings(
        outputs_dir=folder / "outputs",
        inputs_dir=folder / "inputs",
        models_dir=ROOT / "models",
        preset="embedded",
        device="cpu",
    )
    runner = web.AppRunner(create_app(settings), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            for last in (False, False, True):
                if last:
                    tracer.start()
                async with session.post("/v1/engine/generate/", json=BODY) as answer:
                    record = await answer.json()
                if answer.status != 200 or record["task_status"] != "finished":
                    raise RuntimeError(record)
            return tracer.stop()
    finally:
        await runner.cleanup()


def report(trace: Trace, *, listed: bool) -> None:
    """Print the figures, and the files with their functions where asked."""
    print(f"functions: {len(trace.calls)}, {sum(trace.calls.values())} calls")
    print(f"files: {len(trace.files)}")
    print(f"preset files read: {trace.preset_reads}")
    for name in RESOLVING:
        print(f"{name}: {trace.count(name)}")
    for file in trace.files if listed else ():
        names = sorted(name for each, name in trace.calls if each == file)
        print(f"{file}: {', '.join(names)}")


def main() -> None:
    """Trace one request and print what ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="every file and function that ran")
    options = parser.parse_args()
    tracer = Tracer()
    with tempfile.TemporaryDirectory() as folder:
        report(asyncio.run(trace_post(tracer, Path(folder))), listed=options.list)


if __name__ == "__main__":
    main()
