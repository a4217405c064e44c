"""Content negotiation (RFC 9110, section 12.4.2): which format or encoding a client prefers.

aiohttp parses no q-values, and werkzeug, which does, is a whole framework: so this is ours.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from handlers.http.refusal import RequestRefused
from pipeline.request.choices import OutputFormat

FORMATS: Final[dict[str, OutputFormat]] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpg",
    "image/webp": "webp",
    "image/*": "png",
}
_ANY_IMAGE: Final = "image/*"
_ANYTHING: Final = "*/*"
_MADE: Final = tuple(name for name in FORMATS if name != _ANY_IMAGE)


class FormatQuery(msgspec.Struct, kw_only=True, rename={"image_format": "as"}):
    """The query of endpoints that answer with a picture."""

    image_format: (
        Annotated[
            OutputFormat,
            Meta(description="Image type of the answer, for clients that cannot set Accept."),
        ]
        | None
    ) = None


def weights_of(header: str) -> dict[str, float]:
    """Each choice of an Accept or Accept-Encoding header with its weight, in the header's order.

    Names are in lower case, without parameters. An invalid weight counts as 1; of a name
    given twice the last weight counts.
    """
    weights: dict[str, float] = {}
    for choice in header.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        if name:
            weights[name] = next(map(_weight, filter(_is_weight, parameters)), 1.0)
    return weights


def by_preference(header: str) -> list[str]:
    """The acceptable choices, the best first; of equal weights the first in the header."""
    weights = weights_of(header)
    return sorted((name for name in weights if weights[name] > 0), key=lambda n: -weights[n])


def prefers_encoding(header: str, encoding: str) -> bool:
    """Does an Accept-Encoding header allow ``encoding``, and rank it at least as high as none?"""
    weights = weights_of(header)
    weight = weights.get(encoding, weights.get("*", 0.0))
    return weight > 0 and weight >= weights.get("identity", 0.0)


def wanted_image_format(headers: Iterable[str]) -> OutputFormat | None:
    """The image format that is the first choice of Accept, None if that is no image.

    Raises RequestRefused: 406 if only image types that are not made here are acceptable.
    """
    refused = ""
    header = ",".join(headers)
    for media_type in by_preference(header):
        if media_type == _ANY_IMAGE:
            return FORMATS[_heaviest(weights_of(header))]
        if media_type in FORMATS:
            return FORMATS[media_type]
        if not media_type.startswith("image/"):
            return None
        refused = refused or media_type
    if refused:
        known = ", ".join(FORMATS)
        raise RequestRefused(406, "not_acceptable", f"{refused} is not made here; ask for {known}")
    return None


def converted_format(header: str, stored: str) -> OutputFormat | None:
    """The format into which a file of the media type ``stored`` is converted for an Accept header.

    None to send it as it is: where its own weight is the highest, and where the first choice is no
    image. Of equal weights the first in the header counts, and a file covered by a wildcard stays.
    """
    first = next(iter(by_preference(header)), "")
    if first != _ANYTHING and not first.startswith("image/"):
        return None
    weights = weights_of(header)
    best = _heaviest(weights)
    is_named = stored in weights
    if best == stored or (
        not is_named and _weight_of(stored, weights) >= _weight_of(best, weights)
    ):
        return None
    return FORMATS[best] if _weight_of(best, weights) > 0 else None


def _heaviest(weights: dict[str, float]) -> str:
    """The media type made here with the highest weight; named ones before others, in order."""
    named = [name for name in weights if name in _MADE]
    return max([*named, *_MADE], key=lambda name: _weight_of(name, weights))


def _weight_of(media_type: str, weights: dict[str, float]) -> float:
    """By the most specific choice that covers it (RFC 9110, section 12.5.1)."""
    covering = (media_type, _ANY_IMAGE, _ANYTHING)
    return next((weights[name] for name in covering if name in weights), 0.0)


def _is_weight(parameter: str) -> bool:
    return parameter.partition("=")[0].strip() == "q"


def _weight(parameter: str) -> float:
    try:
        weight = float(parameter.partition("=")[2])
    except ValueError:
        return 1.0
    return weight if 0 <= weight <= 1 else 1.0
