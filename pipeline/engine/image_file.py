"""An image as a file with its metadata, also where the format has no room for all of it."""

from typing import Final, NamedTuple

from PIL import Image

from pipeline.files.catalog import CHECKPOINTS, LORAS
from pipeline.files.hashes import KnowsHashes
from pipeline.images.encode import encode_image, holds_text
from pipeline.metadata.record import ModelHashes, Record
from pipeline.metadata.write import record_text, without_full_texts
from pipeline.request.choices import NO_MODEL
from pipeline.request.plan import ImagePlan
from pipeline.request.schema import GenerateParams

_SHORTENED: Final = "too long for {}: the encoded texts were left out, which follow from the rest"
_LEFT_OUT: Final = "too long for {}: the picture carries no parameters; ask for png"


class ImageFile(NamedTuple):
    """An encoded image. ``left_out`` says what of its metadata had no room; "" if nothing."""

    data: bytes
    left_out: str = ""


def encode_described(image: Image.Image, record: Record, params: GenerateParams) -> ImageFile:
    """The image as ``params`` want it, with the record as its metadata.

    Raises InvalidParameter for an image that is longer than the format can hold.
    """
    scheme, output_format = params.metadata_scheme, params.output_format
    attempts = ((record, ""), (without_full_texts(record), _SHORTENED))
    for each, left_out in attempts:
        text = record_text(each, scheme)
        if holds_text(output_format, text, scheme):
            data = encode_image(image, output_format, text, scheme)
            return ImageFile(data, left_out.format(output_format))
    return ImageFile(encode_image(image, output_format), _LEFT_OUT.format(output_format))


def model_hashes(plan: ImagePlan, known: KnowsHashes) -> ModelHashes:
    """The hashes of a plan's model files, as far as they are known by now."""
    models = {
        name: found.short
        for name in (plan.model, plan.refiner)
        if name != NO_MODEL and (found := known.known(CHECKPOINTS, name))
    }
    loras = {name: found for name, _ in plan.loras if (found := known.known(LORAS, name))}
    return ModelHashes(
        models=models,
        loras={name: found.short for name, found in loras.items()},
        lora_tensors={
            name: found.short_tensors for name, found in loras.items() if found.short_tensors
        },
    )
