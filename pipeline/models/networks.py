"""diffusers' networks, imported without the rest of diffusers.

``from diffusers import UNet2DConditionModel`` brings every network of the package with the loaders
of its pipelines, transformers' text generation, scipy, and torch's compiler: 3 s of processor time
and 160 MB, of which a picture uses nothing. So the classes are imported from their own modules
while stand-ins take the place of

- the packages of networks, whose ``__init__`` imports all of them,
- ``diffusers.loaders``, of which the networks inherit mixins (LoRA files, single files) that are
  ``pipeline.weights``' and ``pipeline.models``' here,
- ``torch._dynamo``, which diffusers asks for two decorators. Where it is loaded, it stays.

Afterwards the stand-ins are gone: whoever wants the whole of diffusers in the same process gets it,
with the same classes. Import this module before any other of diffusers'.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_PACKAGES: Final = tuple(
    f"diffusers.models.{kind}" for kind in ("autoencoders", "controlnets", "transformers", "unets")
)
_LOADERS: Final = "diffusers.loaders"
_SINGLE_FILE: Final = "diffusers.loaders.single_file_model"
_COMPILER: Final = "torch._dynamo"
_MIXINS: Final = ("FromOriginalModelMixin", "PeftAdapterMixin", "UNet2DConditionLoadersMixin")


@contextmanager
def stand_ins() -> Iterator[None]:
    """Put what takes the place of heavy modules into ``sys.modules``, for the length of a block."""
    mixins = {name: type(name, (), {}) for name in _MIXINS}
    wanted = [_package(name) for name in _PACKAGES]
    wanted += [_module(name, mixins) for name in (_LOADERS, _SINGLE_FILE)]
    wanted.append(_module(_COMPILER, {"allow_in_graph": _unchanged, "disable": _disable}))
    put = {module.__name__: module for module in wanted if module.__name__ not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name, module in put.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _package(name: str) -> ModuleType:
    """A package whose modules are found in its folder, and whose ``__init__`` does not run."""
    root, _, below = name.partition(".")
    spec = importlib.util.find_spec(root)  # of the root alone: a spec below it imports its parents
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{root} is not installed; see requirements.txt")
    package = _module(name, {})
    package.__path__ = [str(Path(at, *below.split("."))) for at in spec.submodule_search_locations]
    package.__spec__ = ModuleSpec(name, None, is_package=True)
    return package


def _module(name: str, names: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []  # a package without modules: importing one below it fails, and is seen
    vars(module).update(names)
    return module


def _unchanged(decorated: Any) -> Any:
    return decorated


def _disable(
    function: Callable[..., Any] | None = None, recursive: bool = True, **_options: object
) -> Any:
    del recursive
    return _unchanged if function is None else function


with stand_ins():
    # A network's ``to`` asks for these; imported then, they would bring the compiler.
    importlib.import_module("diffusers.hooks")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.embeddings import IPAdapterPlusImageProjection
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

__all__ = [
    "AutoencoderKL",
    "ControlNetModel",
    "IPAdapterPlusImageProjection",
    "UNet2DConditionModel",
]
