"""What images must have in common to be made in one run of the network: all but seeds and texts."""

from typing import Final

import msgspec

from pipeline.request.plan import ImagePlan
from pipeline.request.prompts import PictureTexts
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams

_NO_TEXTS: Final = PictureTexts(prompt="", negative_prompt="", positives=(), negatives=())
_ANY: Final = GenerateParams()

# Parameters that decide a request's seeds and texts, or what becomes of an image that is made.
_FREE: Final = (
    "prompt",
    "negative_prompt",
    "style_selections",
    "prompt_expansion",
    "read_wildcards_in_order",
    "image_number",
    "image_seed",
    "disable_seed_increment",
    "output_format",
    "save_metadata_to_images",
    "metadata_scheme",
    "generate_image_grid",
    "black_out_nsfw",
    "disable_preview",
    "disable_intermediate_results",
)


def shared_plan(plan: ImagePlan) -> ImagePlan:
    """The plan without what its neighbours in a run may have otherwise."""
    return msgspec.structs.replace(
        plan,
        index=0,
        sampling=msgspec.structs.replace(plan.sampling, seed=0),
        texts=_NO_TEXTS,
        expansion="",
        notes={},
    )


def shared_request(request: ResolvedRequest) -> ResolvedRequest | None:
    """The request without what its neighbours in a run may have otherwise; None if it has none.

    Requests of equal ones mostly have plans whose ``shared_plan`` is equal, which decides: prompts
    may name other weights of LoRAs. Images that start from images have no neighbours.
    """
    goals = request.goals
    if goals.start is not None or goals.image_prompts or goals.enhance or request.stages:
        return None
    params = msgspec.structs.replace(
        request.params, **{name: getattr(_ANY, name) for name in _FREE}
    )
    return msgspec.structs.replace(request, params=params, notes={})
