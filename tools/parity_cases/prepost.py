"""Cases of what happens to texts and numbers before and after sampling, recorded as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pipeline.choices import SAMPLER_NAMES, SCHEDULER_NAMES
from pipeline.metadata import SAMPLER_TITLES
from pipeline.params import GenerateParams
from pipeline.plan import seed_of
from pipeline.prompts import prompt_loras, read_prompts
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.guidance import Guidance
from pipeline.styles import StyleLibrary, normalise_name
from pipeline.wildcards import apply_arrays
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures

STYLES: Final = Path(__file__).parents[2] / "sdxl_styles"


def _arrays(recorded: Any) -> Any:
    return [{**each, "out": apply_arrays(each["text"], each["index"])} for each in recorded]


def _seeds(recorded: Any) -> Any:
    def seed(each: Any, *, fixed: bool) -> int:
        params = GenerateParams(image_seed=each["seed"], disable_seed_increment=fixed)
        return seed_of(params, each["i"])

    return [
        {**each, "fixed": seed(each, fixed=True), "inc": seed(each, fixed=False)}
        for each in recorded
    ]


def _round_to_64(recorded: Any) -> Any:
    def rounded(side: int) -> int:
        ids = SdxlSizes(side, side, Guidance()).ids(positive=True, scaled=False)
        return int(ids[0])

    return {side: rounded(int(side)) for side in recorded}


def _style_order(recorded: Any) -> Any:
    """The order of the styles that the reference reads from files; random styles draw by it."""
    return [name for name in StyleLibrary(STYLES).names() if name in set(recorded)]


CASES: Final[dict[str, Callable[[Any], Any]]] = {
    "arrays": _arrays,
    "cleanup_prompt": lambda recorded: {text: prompt_loras(text, ())[0] for text in recorded},
    "normalize_key": lambda recorded: {name: normalise_name(name) for name in recorded},
    "round_to_64": _round_to_64,
    "safe_str": lambda recorded: {
        text: read_prompts(GenerateParams(prompt=text)).main for text in recorded
    },
    "samplers": lambda _: {name: SAMPLER_TITLES.get(name, "") for name in SAMPLER_NAMES},
    "schedulers": lambda _: list(SCHEDULER_NAMES),
    "seeds": _seeds,
    "style_keys_order": _style_order,
}


def recorded_json(case: Case, fixtures: Fixtures) -> Results:
    """One entry of the file. Raises NotImplementedError."""
    name = case.outputs[0]
    if name not in CASES:
        raise NotImplementedError(f"nothing here makes {name} yet")
    return {name: CASES[name](fixtures.json(case.file)[name])}


RUNNERS = {"json.": recorded_json}
