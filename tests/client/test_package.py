"""The package of ``focal_client`` holds all of it, and asks for nothing of the server's."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools.server_process import ROOT

FOLDER = ROOT / "focal_client"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))


def imported() -> Iterator[str]:
    """The top names of what the package imports, its own left out."""
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (name.partition(".")[0] for name in names)


def test_every_folder_with_code_is_packaged() -> None:
    folders = {path.parent for path in FOLDER.rglob("__init__.py")}
    packaged = PROJECT["tool"]["setuptools"]["package-dir"]
    assert {(FOLDER / Path(folder)).resolve() for folder in packaged.values()} == folders
    assert list(packaged) == PROJECT["tool"]["setuptools"]["packages"]


def test_what_it_imports_is_what_it_requires() -> None:
    required = {name.partition(">")[0] for name in PROJECT["project"]["dependencies"]}
    others = set(imported()) - sys.stdlib_module_names - {"focal_client"}
    assert others == required


def test_the_command_is_there() -> None:
    module, _, function = PROJECT["project"]["scripts"]["focal"].partition(":")
    source = ROOT / f"{module.replace('.', '/')}.py"
    assert f"def {function}(" in source.read_text("utf-8")
