"""The command line ``focal`` against a running server with a fake device."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from PIL import Image

from tests.integration.serving import Focal, serve
from tests.integration.test_input_images import grey, stored_as
from tools.server_process import ROOT

COMMAND = (sys.executable, "-m", "focal_client.cli.main")
WAIT_S = 30


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell begins its background jobs with SIGINT ignored, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path / "server") as running:
        yield running


async def started(
    focal: Focal, *arguments: str, stderr: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    environment = {**os.environ, "FOCAL_URL": focal.url, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=focal.folder.parent,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )


async def run(focal: Focal, *arguments: str) -> Done:
    process = await started(focal, *arguments)
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def test_a_prompt_becomes_a_file(focal: Focal) -> None:
    asked = ["a red star", "-o", "star.png", "--size", "256*256", "--seed", "7"]
    done = await run(focal, "generate", *asked)
    assert (done.code, done.out) == (0, "star.png\n"), done.err
    (task,) = focal.device.seen
    assert (task.params.prompt, task.params.image_seed) == ("a red star", 7)
    assert task.params.aspect_ratios_selection == "256*256"
    saved = (focal.folder.parent / "star.png").read_bytes()
    record = await focal.get(f"/tasks/{task.task_id}")
    async with focal.session.get(record["result"][0]) as answer:
        assert await answer.read() == saved


async def test_progress_is_plain_lines_in_a_pipe(focal: Focal) -> None:
    focal.device.hold_at_step(3)
    process = await started(focal, "generate", "a", "-o", "a.png")
    assert process.stderr is not None
    lines = []
    async with asyncio.timeout(WAIT_S):
        while line := (await process.stderr.readline()).decode():
            lines.append(line)
            if "Sampling step 2/4" in line:
                focal.device.gate.set()
        assert await process.wait() == 0
    assert len(lines) > 1
    assert all(line[3:5] == "% " and line.isascii() for line in lines)


async def test_progress_is_a_bar_on_a_terminal(focal: Focal) -> None:
    focal.device.hold_at_step(3)
    ours, theirs = pty.openpty()
    process = await started(focal, "generate", "a", "-o", "a.png", stderr=theirs)
    os.close(theirs)
    await focal.started()
    focal.device.gate.set()
    async with asyncio.timeout(WAIT_S):
        out, _ = await process.communicate()
    shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert (process.returncode, out) == (0, b"a.png\n")
    assert "\x1b[" in shown
    assert "━" in shown


async def test_several_pictures_are_numbered_and_the_suffix_is_the_format(focal: Focal) -> None:
    done = await run(focal, "generate", "a", "-n", "2", "-o", "a.webp")
    assert done.out.split() == ["a-1.webp", "a-2.webp"]
    with Image.open(focal.folder.parent / "a-2.webp") as image:
        assert image.format == "WEBP"


async def test_a_slash_makes_a_folder_and_missing_ones_are_made(focal: Focal) -> None:
    done = await run(focal, "generate", "a", "-n", "2", "-o", "stars/")
    assert done.code == 0, done.err
    assert sorted(done.out.split()) == [
        str(Path("stars") / path.name) for path in sorted((focal.folder.parent / "stars").iterdir())
    ]
    assert len(done.out.split()) == 2
    assert all(name.endswith(".png") for name in done.out.split())
    done = await run(focal, "generate", "a", "-o", "of/today/star.png")
    assert done.out.split() == ["of/today/star.png"]


async def test_what_cannot_be_saved_is_not_made(focal: Focal) -> None:
    (focal.folder.parent / "file").write_bytes(b"")
    done = await run(focal, "generate", "a", "-o", "file/star.png")
    assert done.code == 1
    assert not focal.device.seen


async def test_a_picture_file_that_is_not_there_is_said_here(focal: Focal) -> None:
    done = await run(focal, "generate", "a", "--vary", "sketch.png")
    assert (done.code, done.err) == (1, "focal: there is no file sketch.png\n")


async def test_a_misspelt_field_is_warned_of(focal: Focal) -> None:
    done = await run(focal, "generate", "a", "--set", "sharpnes=3", "-o", "x.png")
    assert done.code == 0
    assert "sharpnes" in done.err.splitlines()[0]


async def test_one_picture_may_go_to_standard_output(focal: Focal) -> None:
    process = await started(focal, "generate", "a", "-o", "-")
    async with asyncio.timeout(WAIT_S):
        out, _ = await process.communicate()
    assert out.startswith(b"\x89PNG")


async def test_a_picture_file_is_sent_along_and_any_field_may_be_set(focal: Focal) -> None:
    path = focal.folder.parent / "grey.png"
    path.write_bytes(grey())
    done = await run(
        focal, "generate", "a", "--vary", "grey.png", "--set", "sharpness=3.5", "-o", "x.png"
    )
    assert done.code == 0, done.err
    (task,) = focal.device.seen
    assert task.params.uov_input_image == f"/{stored_as(grey())}"
    assert task.params.sharpness == 3.5


async def test_what_the_server_refuses_is_said_in_one_line(focal: Focal) -> None:
    done = await run(focal, "generate", "a", "--size", "large")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("focal: aspect_ratios_selection: Expected width*height")
    assert done.err.count("\n") == 1


async def test_an_interrupted_task_is_stopped(focal: Focal) -> None:
    focal.device.hold_at_step(2)
    process = await started(focal, "generate", "a")
    await focal.started()
    (task,) = focal.device.seen
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_S):
        await process.stderr.readline()  # it follows the task now
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert (await focal.ended(task.task_id))["task_status"] == "stop"


async def test_queue_history_and_models_are_lines_with_tabs_in_a_pipe(focal: Focal) -> None:
    record = await focal.generate({"prompt": "a cat\nof two lines [red]:smile:"})
    focal.device.hold_at_step(1)
    running = await focal.queue(prompt="a dog")
    await focal.started()
    waiting = await focal.queue(prompt="a bird")
    queue = [line.split("\t") for line in (await run(focal, "queue")).out.splitlines()]
    assert [row[1:] for row in queue] == [[running, "a dog"], [waiting, "a bird"]]
    (card,) = (await run(focal, "history", "cat")).out.splitlines()
    assert card.split("\t")[1:3] == ["finished", record["task_id"]]
    assert card.endswith("\ta cat of two lines [red]:smile:")
    as_json = json.loads((await run(focal, "history", "--json")).out)
    assert as_json["items"][0]["task_id"] == record["task_id"]
    models = (await run(focal, "models")).out
    assert "checkpoint\tembedded\t" in models


async def test_watch_prints_a_line_for_each_event(focal: Focal) -> None:
    process = await started(focal, "watch", "task.finished", "--json", "--since", "0")
    record = await focal.generate({})
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while (event := json.loads(await process.stdout.readline()))["type"] != "task.finished":
            assert event["type"] == "bus.gap"
        assert event["task_id"] == record["task_id"]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


async def test_a_server_that_is_not_there_has_a_code_of_its_own(focal: Focal) -> None:
    done = await run(focal, "--url", "http://127.0.0.1:9", "queue")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("focal: no answer: ")
