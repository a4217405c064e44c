"""Environments with pinned packages of their own, made once and kept in pytest's cache."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.requirement import missing

INSTALL_S: Final = 300


def python_with(config: pytest.Config, requirements: Path) -> Path:
    """The interpreter of an environment with these packages; its scripts lie beside it.

    The test is skipped where they cannot be installed, but fails in CI.
    """
    assert config.cache is not None
    name = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = config.cache.mkdir("clients") / name
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python, done = scripts / "python", folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed = subprocess.run(
            [*pip, "-r", str(requirements)],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        if installed.returncode:
            missing(f"{requirements} cannot be installed: {installed.stderr[-500:]}")
        done.touch()
    return python
