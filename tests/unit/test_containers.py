"""The container files name what is there: sources, options, and each other's settings."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from settings import ENV_PREFIX, Settings
from tests.integration.serving import serve
from tools.server_process import ROOT

DOCKERFILES: Final = ("Dockerfile", "Dockerfile.cuda")
OPTION: Final = re.compile(rf"{ENV_PREFIX}([A-Z_]+)=")


def instructions(name: str) -> list[str]:
    """The instructions of a Dockerfile, each on a line."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    return [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]


def sources(name: str) -> set[str]:
    """What a Dockerfile copies from the repository."""
    copies = [line.split()[1:-1] for line in instructions(name) if line.startswith("COPY ")]
    return {part for parts in copies if not parts[0].startswith("--from") for part in parts}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_let_in(name: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").split()
    let_in = {path.name for line in ignore if line[0] == "!" for path in ROOT.glob(line[1:])}
    assert {source for source in sources(name) if not (ROOT / source).exists()} == set()
    assert sources(name) - let_in == set()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_the_server_imports_and_reads_is_copied(name: str) -> None:
    code = "import sys, server, pipeline.engine.engine; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    own = {module.partition(".")[0] for module in done.stdout.split()}
    wanted = {name for name in own if (ROOT / name).is_dir() and not name.startswith(".")}
    wanted |= {f"{name}.py" for name in own if (ROOT / f"{name}.py").is_file()}
    assert wanted | {"static", "presets", "sdxl_styles", "wildcards"} <= sources(name)


def test_options_in_the_environment_are_options_of_the_server() -> None:
    known = {field.upper() for field in Settings.__struct_fields__}
    files = [*DOCKERFILES, "systemd/focal.service"]
    named = {option for name in files for option in OPTION.findall((ROOT / name).read_text())}
    compose = (ROOT / "compose.yaml").read_text("utf-8")
    named |= set(re.findall(rf"^ +{ENV_PREFIX}([A-Z_]+):", compose, re.MULTILINE))
    assert len(named) > 5
    assert named - known == set()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_server_is_no_root_and_its_data_are_a_volume(name: str) -> None:
    last = instructions(name)
    last = last[max(i for i, line in enumerate(last) if line.startswith("FROM ")) :]
    assert "USER 10001:10001" in last
    assert "VOLUME /data" in last
    assert any(line.startswith("HEALTHCHECK ") for line in last)


def health_check(name: str) -> list[str]:
    line = next(line for line in instructions(name) if line.startswith("HEALTHCHECK "))
    command: list[str] = json.loads(line.partition("CMD ")[2])
    return command


@pytest.mark.parametrize("name", DOCKERFILES)
async def test_the_health_check_tells_a_server_from_none(name: str, tmp_path: Path) -> None:
    _, *rest = health_check(name)

    async def code(port: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *rest, env={"FOCAL_PORT": port}, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(30):
            return await process.wait()

    async with serve(tmp_path, api_key="secret") as focal:
        assert await code(focal.url.rpartition(":")[2]) == 0
    assert await code("9") == 1
