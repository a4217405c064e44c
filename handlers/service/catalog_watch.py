"""Tells readers of the event bus that model files or presets came or went."""

import asyncio
from typing import Final

from bus.bus import EventBus
from bus.events import CatalogChanged
from pipeline.files.catalog import ModelCatalog
from pipeline.request.presets import PresetStore

SECONDS: Final = 2.0  # a listing that has not changed costs one stat per folder

_Names = tuple[tuple[str, ...], ...]


async def watch_catalog(
    bus: EventBus, catalog: ModelCatalog, presets: PresetStore, seconds: float = SECONDS
) -> None:
    """Publish ``catalog.changed`` after each change of what requests may name.

    ``seconds``: time between two looks.
    """
    known = await asyncio.to_thread(_names, catalog, presets)
    while True:
        await asyncio.sleep(seconds)
        now = await asyncio.to_thread(_names, catalog, presets)
        if now != known:
            known = now
            bus.publish(CatalogChanged())


def _names(catalog: ModelCatalog, presets: PresetStore) -> _Names:
    """All names. Reads folders: not for the event loop."""
    kinds = (
        *(catalog.checkpoints, catalog.loras, catalog.vaes),
        *(catalog.embeddings, catalog.upscalers, presets.names),
    )
    return tuple(tuple(names()) for names in kinds)
