"""The requests of X/Y/Z grids."""

from pipeline.request.grids import Axis, grid_requests
from pipeline.request.schema import RANDOM_SEED_LIMIT


def test_a_drawn_seed_is_one_for_all_cells_and_exact_in_javascript() -> None:
    axis = Axis(field="guidance_scale", values=[2, 4])
    for _ in range(4):
        first, second = grid_requests({"prompt": "a star", "image_seed": -1}, [axis])
        seed = first["image_seed"]
        assert isinstance(seed, int)
        assert 0 <= seed < RANDOM_SEED_LIMIT
        assert second["image_seed"] == seed
