"""What each guidance parameter does to the embedded model's picture, over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from tests.integration.real_engine import pictures, pixels, serve_engine
from tests.integration.serving import Focal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]
Picture = NDArray[np.float64]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    async with serve_engine(tmp_path_factory.mktemp("focal")) as running:
        yield running


async def draw(focal: Focal, **asked: Any) -> Picture:
    request = {
        "prompt": "a yellow star on a purple background",
        "image_seed": 1,
        "overwrite_step": 8,
        "sampler_name": "euler",
    }
    (data,) = await pictures(focal, **{**request, **asked})
    return pixels(data)


def distance(first: Picture, second: Picture) -> float:
    """Mean difference of a channel, 0...255."""
    return float(np.abs(first - second).mean())


def detail(picture: Picture) -> float:
    """Mean size of the brightness's second difference: what is fine in a picture."""
    grey = picture.mean(-1)
    across = grey[1:-1, :-2] + grey[1:-1, 2:]
    down = grey[:-2, 1:-1] + grey[2:, 1:-1]
    return float(np.abs(4 * grey[1:-1, 1:-1] - across - down).mean())


async def test_the_sharper_the_more_fine_detail(focal: Focal) -> None:
    soft, middle, sharp = [detail(await draw(focal, sharpness=s)) for s in (0, 10, 30)]
    assert soft * 1.05 < middle
    assert middle * 1.1 < sharp


async def test_adaptive_cfg_draws_a_strong_guidance_towards_its_own(focal: Focal) -> None:
    strong = await draw(focal, guidance_scale=15, adaptive_cfg=30)
    weak = await draw(focal, guidance_scale=3, adaptive_cfg=30)
    some = await draw(focal, guidance_scale=15, adaptive_cfg=10)
    most = await draw(focal, guidance_scale=15, adaptive_cfg=3)
    assert distance(most, weak) < distance(some, weak) < distance(strong, weak)
    assert distance(some, strong) < distance(most, strong)


async def test_adaptive_cfg_above_the_guidance_does_nothing(focal: Focal) -> None:
    asked = {"guidance_scale": 5.0}
    first, second = [await draw(focal, adaptive_cfg=a, **asked) for a in (5.0, 30.0)]
    assert (first == second).all()
    assert (await draw(focal, adaptive_cfg=2.0, **asked) != first).any()


async def test_the_size_scale_is_told_until_its_end_only(focal: Focal) -> None:
    plain = await draw(focal, adm_scaler_end=0.0)
    unheard = await draw(focal, adm_scaler_end=0.0, adm_scaler_positive=3.0)
    assert (unheard == plain).all()
    sooner, later = [
        distance(await draw(focal, adm_scaler_end=end, adm_scaler_positive=3.0), plain)
        for end in (0.1, 0.8)
    ]
    assert 0 < sooner < later


async def test_a_size_scale_of_1_tells_the_size_as_it_is(focal: Focal) -> None:
    asked = {"adm_scaler_positive": 1.0, "adm_scaler_negative": 1.0}
    plain = await draw(focal, adm_scaler_end=0.0, **asked)
    assert (await draw(focal, adm_scaler_end=0.9, **asked) == plain).all()


def freeu(b1: float, b2: float, s1: float, s2: float) -> dict[str, Any]:
    factors = {"freeu_b1": b1, "freeu_b2": b2, "freeu_s1": s1, "freeu_s2": s2}
    return {"freeu_enabled": True, **factors}


async def test_freeu_changes_more_the_further_its_factors_are_from_1(focal: Focal) -> None:
    off = await draw(focal)
    neutral, mild, strong = [
        distance(await draw(focal, **freeu(*factors)), off)
        for factors in ((1, 1, 1, 1), (1.01, 1.02, 0.99, 0.95), (1.4, 1.6, 0.9, 0.2))
    ]
    assert neutral < 0.05
    assert 10 * neutral < mild < strong


async def test_freeus_louder_backbone_and_quieter_skips_both_raise_the_contrast(
    focal: Focal,
) -> None:
    off, backbone, skips = [
        float((await draw(focal, **asked)).std())
        for asked in ({}, freeu(1.4, 1.6, 1, 1), freeu(1, 1, 0.9, 0.2))
    ]
    assert off < backbone
    assert off < skips
