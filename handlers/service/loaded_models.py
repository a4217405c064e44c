"""Which models are loaded, as the event bus tells it."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bus.bus import EventBus
from bus.events import EventData, ModelLoaded, ModelUnloaded, now_ms
from bus.subscription import EventFilter

MAILBOX_LIMIT: Final = 1024
_CHANGES: Final = EventFilter(types=frozenset({ModelLoaded.type, ModelUnloaded.type}))


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a device."""

    kind: str
    name: str
    seconds: Annotated[float, Meta(description="How long loading took.")]
    since_mills: int


class LoadedModels:
    """The models whose loading was published and whose unloading was not. Event loop only."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._loaded: dict[tuple[str, str], LoadedModel] = {}

    async def follow(self) -> None:
        """Apply every event of the bus, those still in its replay ring first."""
        self._loaded.clear()
        with self._bus.subscribe(_CHANGES, limit=MAILBOX_LIMIT, since=0) as subscription:
            async for delivery in subscription:
                self.apply(delivery.data)

    def apply(self, data: EventData) -> None:
        """Record one loading or unloading."""
        match data:
            case ModelLoaded(name=name, kind=kind, seconds=seconds):
                self._loaded[kind, name] = LoadedModel(
                    kind=kind, name=name, seconds=seconds, since_mills=now_ms()
                )
            case ModelUnloaded(name=name, kind=kind):
                self._loaded.pop((kind, name), None)
                if not any(loaded == "checkpoint" for loaded, _ in self._loaded):
                    self._loaded.clear()  # LoRAs and other parts leave with their checkpoint

    def all(self) -> list[LoadedModel]:
        """Every loaded model."""
        return list(self._loaded.values())
