"""What this build cannot do yet, as one table: a feature that arrives takes its row away."""

from collections.abc import Callable
from typing import Final

from pipeline.errors import UnsupportedFeature
from pipeline.params import GenerateParams

_Row = tuple[str, Callable[[GenerateParams], bool], str]


NOT_YET: Final[tuple[_Row, ...]] = (
    ("enhance_input_image", lambda p: p.enhance_input_image != "", "enhancement"),
    ("enhance_checkbox", lambda p: p.enhance_checkbox, "enhancement"),
    ("enhance_uov_method", lambda p: p.enhance_uov_method != "Disabled", "enhancement"),
    ("enhance_ctrls", lambda p: any(c.enhance_enabled for c in p.enhance_ctrls), "enhancement"),
    ("black_out_nsfw", lambda p: p.black_out_nsfw, "the safety checker"),
)


def check_supported(params: GenerateParams) -> None:
    """Raise UnsupportedFeature for the first thing asked that is not there yet."""
    for field, asked, feature in NOT_YET:
        if asked(params):
            raise UnsupportedFeature(field, f"{field}: {feature} cannot be used in this version")
