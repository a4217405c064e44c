"""Clients that generators write from /openapi.json make the picture that curl gets.

The generators are installed, pinned, into folders of their own; without their registries the tests
are skipped, but not in CI.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.environment import python_with
from tests.requirement import missing
from tools.server_process import ServerProcess, running_server

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(600)]

HERE: Final = Path(__file__).parent
KEY: Final = "a key of the test"
BODY: Final = {
    "prompt": "a red star on a blue background",
    "image_seed": 7,
    "performance_selection": "Lightning",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("generators")
    options = ["--preset", "embedded", "--device", "cpu", "--api-key", KEY]
    with running_server(options, folder) as process:
        yield process


@pytest.fixture(scope="module")
def document(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(curl(server, "/openapi.json"))
    return path


@pytest.fixture(scope="module")
def picture(server: ServerProcess) -> bytes:
    """What curl gets."""
    data = ["-H", "Accept: image/png", "-d", json.dumps(BODY)]
    made = curl(server, "/v1/engine/generate/", *data)
    assert made.startswith(b"\x89PNG")
    return made


def curl(server: ServerProcess, path: str, *arguments: str) -> bytes:
    if shutil.which("curl") is None:
        missing("curl is not installed")
    command = ["curl", "-sS", "--fail-with-body", "-H", f"X-API-KEY: {KEY}", *arguments]
    return run([*command, server.url + path]).stdout


def run(
    command: Sequence[str | Path], folder: Path | None = None, path: str = ""
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done


@pytest.fixture(scope="module")
def generator(request: pytest.FixtureRequest) -> Path:
    """The scripts of a virtual environment with openapi-python-client."""
    return python_with(request.config, HERE / "requirements.txt").parent


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Path:
    """A node_modules with openapi-typescript, openapi-fetch and TypeScript."""
    if shutil.which("npm") is None:
        missing("npm is not installed")
    wanted = HERE / "package-lock.json"
    assert request.config.cache is not None
    folder = Path(request.config.cache.mkdir("openapi-typescript"))
    done = folder / wanted.name
    if not (done.exists() and done.read_bytes() == wanted.read_bytes()):
        shutil.copy(HERE / "package.json", folder)
        shutil.copy(wanted, done)
        try:
            run(["npm", "ci", "--no-fund", "--no-audit"], folder)
        except AssertionError as error:
            done.unlink()
            missing(f"openapi-typescript cannot be installed: {error}")
    return folder / "node_modules"


def test_the_client_of_openapi_python_client_makes_the_picture_that_curl_gets(
    server: ServerProcess, generator: Path, document: Path, picture: bytes, tmp_path: Path
) -> None:
    package = tmp_path / "generated"
    config = HERE / "openapi-python-client.yml"
    done = run(
        [
            generator / "openapi-python-client",
            "generate",
            *("--path", document),
            *("--meta", "none"),
            *("--output-path", package),
            *("--config", config),
            "--fail-on-warning",
        ],
        tmp_path,
        path=str(generator),
    )
    assert b"WARNING" not in done.stderr + done.stdout
    shutil.copy(HERE / "make_picture.py", tmp_path)
    run([generator / "python", "make_picture.py", server.url, KEY, "star.png"], tmp_path)
    assert (tmp_path / "star.png").read_bytes() == picture


def test_the_types_of_openapi_typescript_make_the_picture_that_curl_gets(
    server: ServerProcess, modules: Path, document: Path, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(modules)
    for name in ("make_picture.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, tmp_path)
    scripts = modules / ".bin"
    run([scripts / "openapi-typescript", document, "-o", "schema.ts"], tmp_path)
    run([scripts / "tsc", "-p", "tsconfig.json"], tmp_path)
    run(["node", "make_picture.js", server.url, KEY, "star.png"], tmp_path)
    assert (tmp_path / "star.png").read_bytes() == picture
