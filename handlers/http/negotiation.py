"""What the Accept header of a generate request asks for."""

from collections.abc import Iterable, Iterator
from typing import Final

from handlers.http.errors import RequestRefused
from pipeline.request.choices import OutputFormat

FORMATS: Final[dict[str, OutputFormat]] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpg",
    "image/webp": "webp",
    "image/*": "png",
}


def wanted_image_format(headers: Iterable[str]) -> OutputFormat | None:
    """The picture format that the client likes best, None if it rather has something else.

    Of equal weights the first counts. Raises 406 if nothing but other pictures will do.
    """
    refused = ""
    for media_type in _by_preference(",".join(headers)):
        if media_type in FORMATS:
            return FORMATS[media_type]
        if not media_type.startswith("image/"):
            return None
        refused = refused or media_type
    if refused:
        known = ", ".join(FORMATS)
        raise RequestRefused(406, "not_acceptable", f"{refused} is not made here; ask for {known}")
    return None


def _by_preference(header: str) -> Iterator[str]:
    choices = [_weighted(choice) for choice in header.split(",") if choice.strip()]
    for weight, media_type in sorted(choices, key=lambda choice: -choice[0]):
        if weight > 0:
            yield media_type


def _weighted(choice: str) -> tuple[float, str]:
    media_type, *parameters = (part.strip().lower() for part in choice.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _weight(value), media_type
    return 1.0, media_type


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 1.0
    return weight if 0 <= weight <= 1 else 1.0
