"""CPU time of upscaling networks as they are run, against the same networks layer by layer.

Baseline: torch's conv2d for every layer (the network as it is built, before ``for_cpu``). Random
weights of the published sizes, one thread, in alternation.
"""

import argparse
import copy
import statistics
import time

import torch

from pipeline.models.rrdb import Network, Shape
from pipeline.models.srvgg import SrvggNetwork, SrvggShape
from pipeline.models.upscaler import UpscalerNetwork

SIZES: dict[str, Shape | SrvggShape] = {
    "RealESRGAN_x4plus": Shape(64, 32, 23, doublings=2, unshuffle=1),
    "RealESRGAN_x4plus_anime_6B": Shape(64, 32, 6, doublings=2, unshuffle=1),
    "realesr-general-x4v3": SrvggShape(64, 32, 4, learned=True),
    "realesr-animevideov3": SrvggShape(64, 16, 4, learned=True),
}


def seconds(network: UpscalerNetwork, picture: torch.Tensor) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    network(picture)
    return time.process_time() - started


def main() -> None:
    """A line for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128, help="pixels of the picture's side")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    picture = torch.rand(1, 3, options.side, options.side)
    for name, shape in SIZES.items():
        plain = Network(shape) if isinstance(shape, Shape) else SrvggNetwork(shape)
        plain.requires_grad_(requires_grad=False)
        fast = copy.deepcopy(plain).for_cpu()
        with torch.inference_mode():
            pairs = [
                (seconds(plain, picture), seconds(fast, picture)) for _ in range(options.rounds + 1)
            ][1:]  # the first allocates
        usual, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"{name}: {ours:.2f} s, conv2d {usual:.2f} s, ratio {ours / usual:.2f}")


if __name__ == "__main__":
    main()
