"""A plan for the small models, and changes of it by field name alone."""

from typing import Any

import msgspec

from pipeline.request.plan import ImagePlan
from pipeline.request.prompts import PictureTexts
from pipeline.request.sampling import Guidance, SamplingSettings
from pipeline.request.sizes import ImageSize

PLAN = ImagePlan(
    index=0,
    size=ImageSize.same(64, 64),
    sampling=SamplingSettings(sampler="euler", scheduler="karras", steps=2, seed=5),
    guidance=Guidance(),
    texts=PictureTexts(
        prompt="a (cat:1.2)",
        negative_prompt="",
        positives=("a (cat:1.2)", "fur"),
        negatives=("blur",),
    ),
    model="tiny",
    switch=1,
)


def changed(plan: ImagePlan, **fields: Any) -> ImagePlan:
    """``plan`` with these fields, wherever in it they are: ``changed(plan, steps=4, cfg=1.0)``."""
    nested = {name: getattr(plan, name) for name in ("size", "sampling", "guidance", "texts")}
    for part, struct in nested.items():
        own = {name: fields.pop(name) for name in struct.__struct_fields__ if name in fields}
        fields[part] = msgspec.structs.replace(struct, **own)
    return msgspec.structs.replace(plan, **fields)
