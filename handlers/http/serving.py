"""Runs an application until a signal ends it."""

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

import uvloop
from aiohttp import web

from handlers.http.access import ACCESS
from handlers.http.connections import (
    BACKLOG,
    ConnectionLimits,
    Runner,
    raise_descriptor_limit,
)
from handlers.http.listening import CannotListen, open_sockets, split_hosts
from storage.database import DatabaseUnusable

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
REQUEST_GRACE_S: Final = 1.0  # for requests that are being answered when the application has ended


def run(app: web.Application, host: str, port: int, log_level: str) -> NoReturn:
    """Log to standard error, ``serve`` on uvloop and end the process.

    A start that fails writes one line and ends with code 1. ``host`` may name several addresses,
    with commas.
    """
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    limits = ConnectionLimits.of_descriptors(raise_descriptor_limit())
    try:
        sockets = open_sockets(split_hosts(host), port)
        runner.run(serve(app, sockets, limits))
    except (CannotListen, DatabaseUnusable, sqlite3.Error, OSError) as error:
        logging.getLogger().debug("the start failed", exc_info=error)
        sys.stderr.write(f"focal: {str(error).splitlines()[0]}\n")
        end_process(1)
    end_process(0)  # without runner.close(), which waits for every thread of the loop's pool


async def serve(
    app: web.Application, sockets: Iterable[socket.socket], limits: ConnectionLimits
) -> None:
    """Listen on bound sockets until SIGINT or SIGTERM, then shut down in order.

    A second signal ends the process at once, with the code that shells give to that signal: what
    is open is recovered at the next start, as after a crash. Raises what the application's start
    does.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _on_signal, number, stop)
    runner = Runner(app, limits, shutdown_timeout=REQUEST_GRACE_S)
    try:
        await runner.setup()
        for each in sockets:
            await web.SockSite(runner, each, backlog=BACKLOG).start()
        for address in runner.addresses:
            log.info("listening on http://%s:%s", *address[:2])
        if app[ACCESS].is_exposed:
            log.warning("other machines can reach this server and need no key; set --api-key")
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
