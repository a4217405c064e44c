"""Runs an application until a signal ends it."""

import asyncio
import logging
import os
import signal
from typing import Final, NoReturn

import uvloop
from aiohttp import web

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
REQUEST_GRACE_S: Final = 1.0  # for requests that are being answered when the application has ended


def run(app: web.Application, host: str, port: int, log_level: str) -> NoReturn:
    """Log to standard error, ``serve`` on uvloop and end the process; 1 without the address."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.run(serve(app, host, port))
    except OSError as error:
        log.error("%s", error)
        end_process(1)
    end_process(0)  # without runner.close(), which waits for every thread of the loop's pool


async def serve(app: web.Application, host: str, port: int) -> None:
    """Listen until SIGINT or SIGTERM, then shut down in order.

    A second signal ends the process at once, with the code that shells give to that signal: what
    is open is recovered at the next start, as after a crash. Raises OSError if the address cannot
    be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _on_signal, number, stop)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=REQUEST_GRACE_S)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        for address in runner.addresses:
            log.info("listening on http://%s:%s", *address[:2])
        await stop.wait()
    finally:
        await runner.cleanup()


def _on_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    if stop.is_set():
        log.warning("%s again: the process ends at once", number.name)
        end_process(128 + number)
    log.info("%s: shutting down", number.name)
    stop.set()


def end_process(code: int) -> NoReturn:
    """End without waiting for other threads.

    One that is inside a C++ library while the interpreter is torn down aborts the process
    (SIGABRT, a core dump).
    """
    logging.shutdown()
    os._exit(code)
