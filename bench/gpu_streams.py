"""Work on a GPU side by side: decoding beside sampling, and pictures on two streams."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pipeline.engine.sdxl import SdxlPipeline
from pipeline.request.plan import ImagePlan
from pipeline.sampling.batch import Batch


def overlapped(pipeline: SdxlPipeline, plans: Sequence[ImagePlan]) -> list[Tensor]:
    """Pixels of the plans; each is decoded on a stream of its own while the next is sampled."""
    _check(pipeline)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    pixels = []
    for plan in plans:
        latents = _latents(pipeline, plan)
        side.wait_stream(torch.cuda.current_stream())
        latents.record_stream(side)
        with torch.cuda.stream(side):
            pixels.append(pipeline.vae.decode(latents))
    torch.cuda.current_stream().wait_stream(side)
    return pixels


def two_streams(pipeline: SdxlPipeline, plans: Sequence[ImagePlan]) -> list[Tensor]:
    """Pixels of the plans, two at a time: each half on a thread and stream of its own."""
    _check(pipeline)

    def make(half: Sequence[ImagePlan]) -> list[Tensor]:
        own = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.cuda.stream(own):
            made = [pipeline.vae.decode(_latents(pipeline, plan)) for plan in half]
            torch.cuda.current_stream().synchronize()
            return made

    with ThreadPoolExecutor(2) as threads:
        return [each for half in threads.map(make, (plans[::2], plans[1::2])) for each in half]


def _latents(pipeline: SdxlPipeline, plan: ImagePlan) -> Tensor:
    return pipeline.text_to_latents([plan], Batch([lambda _index, _guess: None]))


def _check(pipeline: SdxlPipeline) -> None:
    if pipeline.checkpoint.placement.device.type != "cuda":
        raise RuntimeError("streams want a CUDA device")
