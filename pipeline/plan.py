"""From decoded parameters to one plan a picture: every number settled, nothing loaded. Torch-free."""

import msgspec


class ImagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One picture, settled. Sizes are pixels; model fields are names as ``ModelCatalog`` lists them.

    The picture is made at ``native_width`` x ``native_height`` (multiples of 8) and, where
    ``resize`` is set, brought to ``width`` x ``height`` afterwards.
    """

    index: int  # from 0
    seed: int
    width: int
    height: int
    native_width: int
    native_height: int
    steps: int
    switch: int  # step at which a refiner takes over
    cfg: float
    adaptive_cfg: float
    sharpness: float
    adm_positive: float
    adm_negative: float
    adm_end: float
    sampler: str
    scheduler: str
    clip_skip: int
    prompt: str  # the main prompt after arrays, wildcards and <lora:...>
    negative_prompt: str
    positives: tuple[str, ...]  # texts to encode, in order; all count for the pooled sum
    negatives: tuple[str, ...]
    expand: bool  # "Fooocus V2" is chosen and there is a prompt to continue
    styles: tuple[str, ...]  # as applied, random ones drawn
    model: str
    refiner: str  # "None" for none
    vae: str
    loras: tuple[tuple[str, float], ...] = ()
    freeu: tuple[float, float, float, float] | None = None  # b1, b2, s1, s2
    notes: dict[str, object] = {}  # facts for the task's record

    @property
    def resize(self) -> bool:
        """Is the picture brought to another size after it is made?"""
        return (self.width, self.height) != (self.native_width, self.native_height)

    @property
    def negative_copies_positive(self) -> bool:
        """At a guidance of 1 the negative conditioning is a copy of the positive."""
        return abs(self.cfg - 1.0) < 1e-4
