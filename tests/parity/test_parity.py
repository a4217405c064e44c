"""The pipeline against all figures recorded from Fooocus 2.5.5, in a folder beside the checkout."""

from functools import cache
from pathlib import Path

import pytest

from tools.parity import chosen_cases, run_case
from tools.parity_cases.fixtures import Fixtures

FOLDER = Path(__file__).parents[3] / "shared" / "parity"

# Cases that must fail, by the beginning of their ids.
NOT_OURS = ("json.versions",)  # the libraries that the figures were recorded with
GROUPS = (
    "aniso",
    "cap",
    "control",
    "e2e",
    "erode_or_dilate",
    "explicit",
    "guid",
    "hwc3",
    "inpaint",
    "json",
    "lora",
    "pre",
    "refiner",
    "resample",
    "sampler",
    "scheduler",
    "sigmas",
    "steps",
    "text",
    "units",
    "vae",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason="no reference figures (shared/parity beside the checkout)",
    ),
]


@cache
def figures() -> Fixtures:
    return Fixtures(FOLDER)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", GROUPS)
def test_every_case_agrees_with_the_reference_but_those_that_cannot(group: str) -> None:
    verdicts = [run_case(case, figures()) for case in chosen_cases(figures(), [group])]
    assert verdicts
    surprises = [
        f"{verdict.name}: {'passes' if verdict.passed else verdict.note or verdict.relative}"
        for verdict in verdicts
        if verdict.passed == verdict.name.startswith(NOT_OURS)
    ]
    assert not surprises


def test_every_case_belongs_to_a_group() -> None:
    grouped = {case.id for case in chosen_cases(figures(), GROUPS)}
    assert grouped == {case.id for case in figures().cases}
