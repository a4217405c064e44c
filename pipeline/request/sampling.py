"""Typed settings of one image's sampling run: what the sampling side reads of a plan."""

import msgspec


class SamplingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sampler, schedule and seed of a run.

    ``denoise`` below 1 starts inside the schedule: that share of it is run, from its end.
    """

    sampler: str
    scheduler: str
    steps: int
    seed: int = 0
    denoise: float = 1.0


class Guidance(msgspec.Struct, frozen=True, kw_only=True):
    """Classifier-free guidance and Fooocus's changes of it, with Fooocus's defaults."""

    cfg: float = 4.0
    sharpness: float = 2.0
    adaptive_cfg: float = 7.0  # above this, cfg falls to it as the image progresses
    rescale: float = 0.0  # 0-1, share of the output brought back to the positive one's deviation
    adm_scaler_positive: float = 1.5  # factor of the size given with the positive prompt, early on
    adm_scaler_negative: float = 0.8
    adm_scaler_end: float = 0.3  # share of the way that counts as early


class FreeU(msgspec.Struct, frozen=True):
    """FreeU's factors (arXiv:2309.11497); 1 changes nothing.

    ``b`` amplifies the decoder's backbone, ``s`` scales the skips' low frequencies; index 1 is for
    the deepest level (4 times the model's channels), 2 for the next (twice).
    """

    b1: float
    b2: float
    s1: float
    s2: float
