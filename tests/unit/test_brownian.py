"""The Brownian path of the SDE samplers: torchsde's tree to the bit, in any order of looking."""

import pytest
import torch
import torchsde

from pipeline.sampling.brownian import BrownianPath

SHAPE = (1, 4, 4, 4)
LOW, HIGH = 0.0291675, 14.614642
CPU = torch.device("cpu")


def path(seed: int) -> BrownianPath:
    return BrownianPath(SHAPE, seed, LOW, HIGH, CPU)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_the_path_has_the_bits_of_torchsde_s_tree(seed: int) -> None:
    tree = torchsde.BrownianTree(
        t0=LOW, w0=torch.zeros(SHAPE), t1=HIGH, entropy=seed, tol=1e-6, pool_size=24
    )
    own = path(seed)
    levels = [14.614642, 9.2, 5.5, 5.499999, 3.0, 1.25, 0.4, 0.1, 0.029168]
    asked = [*zip(levels[1:], levels[:-1], strict=True), (1.0, 9.9), (0.5, 0.75), (3.0, 3.0)]
    for start, end in asked:
        assert torch.equal(own.increment(start, end), tree(start, end)), (start, end)


def test_the_path_is_the_same_in_whatever_order_it_is_looked_at() -> None:
    first, second = path(3), path(3)
    spans = [(1.0, 2.0), (2.0, 14.0), (0.5, 1.0), (1.0, 1.5)]
    forward = [first.increment(*span) for span in spans]
    backward = [second.increment(*span) for span in reversed(spans)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))


@pytest.mark.parametrize("span", [(2.0, 1.0), (0.01, 1.0), (1.0, 15.0)])
def test_what_is_no_interval_of_the_path_is_an_error(span: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no interval"):
        path(1).increment(*span)
