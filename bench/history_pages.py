"""How long does a page of a history of a million tasks take?

    python -m bench.history_pages                     through HistoryRepository
    python -m bench.history_pages --keep outputs      leave the history there, for a server
    python -m bench.history_pages --url http://127.0.0.1:7866 --rows 1000000

The baseline is the same page without index: what a plain ORDER BY ... LIMIT ... OFFSET costs.
"""

import argparse
import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from storage.database import open_database
from storage.history import HistoryRepository

PAGE_SIZE = 10
FIRST_MS = 1_700_000_000_000
STEP_MS = 5_000  # a task every five seconds
NAIVE = """
    SELECT * FROM generate_record NOT INDEXED WHERE finish_mills IS NOT NULL
    ORDER BY in_queue_mills DESC LIMIT 10 OFFSET ?
"""
Fetch = Callable[[int | None, int | None, int], Awaitable[int]]


def make_rows(rows: int) -> Iterator[tuple[object, ...]]:
    # About 400 bytes: with all parameters it is 4 GB, and the disk is measured, not the query.
    params = {"prompt": "a red circle on a blue background, " * 10, "image_seed": 1}
    text = msgspec.json.encode(params).decode()
    for i in range(rows):
        queued = FIRST_MS + i * STEP_MS
        result = f'["/outputs/2026-11-23/2026-11-23_00-00-00_{i % 10_000:04d}.png"]'
        yield (f"{i:032x}", text, queued, queued + 100, queued + 4_000, result)


def fill(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO generate_record (task_id, req_params, in_queue_mills, start_mills,"
            " finish_mills, task_status, progress, webhook_url, result)"
            " VALUES (?, ?, ?, ?, ?, 'finished', 100, '', ?)",
            make_rows(rows),
        )
        connection.execute("COMMIT")


async def measure(
    name: str, fetch: Fetch, first_page: int, bounds: tuple[int, int] | None, repeats: int
) -> float:
    """Print p50 and p99 of ``repeats`` pages near ``first_page``; return the p50 in ms."""
    start, end = bounds or (None, None)
    pick = random.Random(1)
    times = []
    for _ in range(repeats):
        page = first_page + pick.randrange(100)
        began = time.perf_counter()
        got = await fetch(start, end, page)
        times.append((time.perf_counter() - began) * 1000)
        if got != PAGE_SIZE:
            raise SystemExit(f"{name}: page {page} has {got} rows")
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"| {name:<28} | {p50:8.2f} | {p99:8.2f} |")
    return p50


async def measure_all(fetch: Fetch, rows: int, repeats: int) -> dict[str, float]:
    last = rows // PAGE_SIZE
    tenth = (FIRST_MS + rows * STEP_MS * 4 // 10, FIRST_MS + rows * STEP_MS * 5 // 10)
    print(f"| {'page':<28} | {'p50 ms':>8} | {'p99 ms':>8} |\n|---|---:|---:|")
    return {
        "first": await measure("first 100 pages", fetch, 0, None, repeats),
        "middle": await measure("100 pages in the middle", fetch, last // 2, None, repeats),
        "last": await measure("last 100 pages", fetch, last - 100, None, repeats),
        "range": await measure("a tenth by time, its middle", fetch, last // 20, tenth, repeats),
    }


async def through_repository(folder: Path, rows: int, repeats: int) -> None:
    path = folder / "db.sqlite3"
    async with open_database(path) as database:
        history = HistoryRepository(database)
        if await history.count() == 0:
            began = time.perf_counter()
            await asyncio.to_thread(fill, path, rows)
            size = path.stat().st_size / 2**20
            print(f"{rows} rows, {size:.0f} MiB, made in {time.perf_counter() - began:.0f} s\n")

        async def fetch(start: int | None, end: int | None, page: int) -> int:
            return len(await history.page(start, end, page, PAGE_SIZE))

        ours = await measure_all(fetch, rows, repeats)
        began = time.perf_counter()
        await history.count()
        print(f"\ncounting them all: {(time.perf_counter() - began) * 1000:.2f} ms")
    with closing(sqlite3.connect(path)) as connection:
        for name, offset in (("first", 0), ("middle", rows // 2)):
            began = time.perf_counter()
            connection.execute(NAIVE, (offset,)).fetchall()
            naive = (time.perf_counter() - began) * 1000
            print(f"without index, {name}: {naive:.0f} ms, {naive / ours[name]:.0f} times as long")


async def through_server(url: str, rows: int, repeats: int) -> None:
    async with aiohttp.ClientSession() as session:

        async def fetch(start: int | None, end: int | None, page: int) -> int:
            query = {"query": "history", "page": str(page), "page_size": str(PAGE_SIZE)}
            for key, moment in (("start_at", start), ("end_at", end)):
                if moment is not None:
                    query[key] = datetime.fromtimestamp(moment / 1000, UTC).isoformat()
            async with session.get(f"{url}/tasks", params=query) as response:
                return len((await response.json())["history"])

        await measure_all(fetch, rows, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--url", help="measure /tasks of a running server instead")
    parser.add_argument("--keep", type=Path, help="make the history in this folder and keep it")
    options = parser.parse_args()
    if options.url:
        asyncio.run(through_server(options.url.rstrip("/"), options.rows, options.repeats))
    elif options.keep:
        asyncio.run(through_repository(options.keep, options.rows, options.repeats))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(through_repository(Path(folder), options.rows, options.repeats))


if __name__ == "__main__":
    main()
