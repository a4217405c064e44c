"""The whole of diffusers, beside networks that were imported without most of it.

``pipeline.models.networks`` imports the classes of SDXL's networks with stand-ins for the mixins of
``diffusers.loaders``. diffusers' pipelines use the same classes and call those mixins (LoRA, single
files), so the stand-ins among their bases are replaced by the real ones. Nothing that is loaded is
imported twice: instances in use keep their class, which has more methods afterwards.
"""

import functools
import importlib
import inspect
import sys
from types import ModuleType
from typing import Any, Final

from pipeline.models import networks

_LOADERS: Final = "diffusers.loaders"
_NETWORKS: Final = "diffusers.models."


@functools.cache
def whole_diffusers() -> ModuleType:
    """The package with all its pipelines. The first call takes seconds, for transformers too."""
    diffusers = importlib.import_module("diffusers")
    loaders = importlib.import_module(_LOADERS)
    for package in ("diffusers", "transformers"):  # a server's log is no terminal
        importlib.import_module(f"{package}.utils.logging").disable_progress_bar()
    for name, module in list(sys.modules.items()):
        if name.startswith(_NETWORKS):
            for value in list(vars(module).values()):
                if inspect.isclass(value) and value.__module__ == name:
                    _complete(value, loaders)
            _rebind(module, loaders)
    return diffusers


def _complete(network: type[Any], loaders: ModuleType) -> None:
    """Replace stand-ins among the bases of a class."""
    bases = tuple(_real(base, loaders) for base in network.__bases__)
    if bases != network.__bases__:
        network.__bases__ = bases


def _rebind(module: ModuleType, loaders: ModuleType) -> None:
    """Replace stand-ins among the names of a module."""
    for name, value in list(vars(module).items()):
        if inspect.isclass(value) and _is_stand_in(value):
            setattr(module, name, _real(value, loaders))


def _real(base: type[Any], loaders: ModuleType) -> type[Any]:
    return getattr(loaders, base.__name__) if _is_stand_in(base) else base


def _is_stand_in(value: type[Any]) -> bool:
    return value.__module__ == networks.__name__
