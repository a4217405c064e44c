"""When a second network takes over, what it begins from, and what both share."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from pipeline.request.choices import SwapMethod
from pipeline.sampling.refiner import RefinerSwap
from tests.unit.sampling_runs import SHAPE, STEPS, Network, Watcher, run, run_of, run_swap


def swap(
    method: SwapMethod, switch: int, sampler: str = "euler"
) -> tuple[Tensor, Network, Network, Watcher]:
    base, refiner, watcher = Network(0.5), Network(0.9), Watcher()
    made = run_swap(RefinerSwap(base, refiner, switch, method), run_of(sampler), watcher)
    return made, base, refiner, watcher


@pytest.mark.parametrize(
    ("method", "switch", "first", "second"),
    [
        ("joint", 2, 3, 3),  # the swap follows the guess of step 2
        ("joint", 0, 1, 5),
        ("joint", STEPS, 6, 0),
        ("separate", 2, 2, 4),
        ("separate", 0, 0, 6),
        ("separate", STEPS, 6, 0),
        ("vae", 2, 2, 4),
        ("vae", 0, 0, 6),
        ("vae", STEPS, 6, 0),
        ("vae", 99, 6, 0),
    ],
)
def test_each_network_makes_its_part_of_the_steps(
    method: SwapMethod, switch: int, first: int, second: int
) -> None:
    made, base, refiner, watcher = swap(method, switch)
    assert (len(base.asked), len(refiner.asked)) == (first, second)
    assert watcher.told == list(range(STEPS))
    assert made.isfinite().all()


def test_a_second_evaluation_in_the_step_of_a_joint_swap_is_the_refiners() -> None:
    _, base, refiner, _ = swap("joint", 2, "heun")
    assert len(base.asked) == 2 * 2 + 1
    assert refiner.asked[0] < base.asked[-1]
    assert len(base.asked) + len(refiner.asked) == 2 * STEPS - 1


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_switch_past_the_end_leaves_the_picture_to_the_base(method: SwapMethod) -> None:
    alone = run(Network(0.5), run_of("dpmpp_2m_sde"), Watcher())
    together, *_ = swap(method, STEPS, "dpmpp_2m_sde")
    assert torch.allclose(together, alone)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_sde", "euler_ancestral"])
def test_separate_runs_share_one_stream_of_noise(sampler: str) -> None:
    """A sampler without history makes the same of two runs as of one."""
    network = Network(0.5)
    whole = run(network, run_of(sampler), Watcher())
    halves = run_swap(RefinerSwap(network, network, 3, "separate"), run_of(sampler), Watcher())
    assert torch.allclose(halves, whole, rtol=1e-4)


def test_separate_runs_forget_what_a_multistep_sampler_knew() -> None:
    network = Network(0.5)
    whole = run(network, run_of("dpmpp_2m"), Watcher())
    halves = run_swap(RefinerSwap(network, network, 3, "separate"), run_of("dpmpp_2m"), Watcher())
    assert not torch.allclose(halves, whole, rtol=1e-4)


def test_through_a_picture_the_second_run_begins_louder_than_the_first_stood() -> None:
    _, whole, _, _ = swap("joint", STEPS)
    _, base, refiner, _ = swap("vae", 2)
    assert base.asked == whole.asked[:2]
    assert refiner.asked == pytest.approx([1.4 * sigma for sigma in whole.asked[2:]])


def test_the_second_run_begins_with_noise_of_the_next_seed() -> None:
    alone = run_swap(RefinerSwap(Network(0.5), Network(0.9), 0, "vae"), run_of("euler"), Watcher())
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    centred = noise - noise.mean(dim=1, keepdim=True)
    correlation = torch.corrcoef(torch.stack([alone.flatten(), centred.flatten()]))[0, 1]
    assert correlation > 0.99


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_whoever_watches_may_end_the_run_in_either_part(method: SwapMethod) -> None:
    class Stopped(Exception):
        pass

    def stop_at(index: int, _denoised: Tensor) -> None:
        if index == 4:
            raise Stopped

    both = RefinerSwap(Network(0.5), Network(0.9), 3, method)
    with pytest.raises(Stopped):
        run_swap(both, run_of("euler"), stop_at)


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_picture_that_is_there_is_refined_too(method: SwapMethod) -> None:
    latent = torch.full(SHAPE, 5.0)
    networks = RefinerSwap(Network(0.5), Network(0.9), 3, method)
    run = run_of("euler", denoise=0.3)
    made = run_swap(networks, run, Watcher(), latent)
    blank = run_swap(networks, run, Watcher())
    assert made.mean() > blank.mean()
