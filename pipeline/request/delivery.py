"""How the result of a generate request reaches its client: separate from what the images are."""

from operator import attrgetter
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.request.schema import GenerateParams

StreamOutput = Annotated[bool, Meta(description="Answer with a stream of progress.")]
AsyncProcess = Annotated[bool, Meta(description="Answer at once, before the task runs.")]
RequireBase64 = Annotated[bool, Meta(description="Results as data URLs.")]
WebhookUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        description="Where the finished record is posted.",
        extra_json_schema={"pattern": "^([Hh][Tt][Tt][Pp][Ss]?://[^/?#]+.*)?$"},
    ),
]

_PARAMS: Final = GenerateParams.__struct_fields__
_params_of: Final = attrgetter(*_PARAMS)
# The fields of a request that ``Delivery`` takes from it.
REQUEST_FIELDS: Final = ("stream_output", "async_process", "require_base64", "webhook_url")


class GenerateRequest(GenerateParams, frozen=True, kw_only=True):
    """Body of the generate endpoint. What is left out (or null) is the preset's, else x-default."""

    stream_output: StreamOutput = False
    async_process: AsyncProcess = False
    require_base64: RequireBase64 = False
    webhook_url: WebhookUrl = ""

    @property
    def params(self) -> GenerateParams:
        """The fields that say what the images are."""
        return GenerateParams(**dict(zip(_PARAMS, _params_of(self), strict=True)))


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that say how it is answered, and what the server adds to them."""

    stream_output: bool = False
    async_process: bool = False
    require_base64: bool = False
    webhook_url: str = ""
    default_webhook: str = ""  # the server's own, for a request that names none
    base_url: str = ""  # prefix of this server's URLs, without a trailing slash
    family: str = ""  # the API family that took the request; "" for Fooocus's own
    key: str = ""  # name of the API key that it came with; "" without keys

    @classmethod
    def of(cls, request: GenerateRequest) -> "Delivery":
        """The delivery that a request asks for."""
        return cls(**{name: getattr(request, name) for name in REQUEST_FIELDS})

    @property
    def webhook(self) -> str:
        """The URL to which the final record is posted; "" for none."""
        return self.webhook_url or self.default_webhook

    @property
    def asked(self) -> dict[str, object]:
        """The fields of the request, as its record shows them."""
        return {name: getattr(self, name) for name in REQUEST_FIELDS}
