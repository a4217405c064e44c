"""The parity tool's verdicts, on a folder of two noise cases made here."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.sampling.noise import ImageNoise
from tools import parity
from tools.parity_cases.compare import LeftOut, distance

SHAPE = (1, 4, 6, 10)


def make_folder(folder: Path, *cases: dict[str, object], off_by: float = 0.0) -> Path:
    """Figures of the noise of seed 7, a little wrong by ``off_by``."""
    noise, here = ImageNoise(7, SHAPE, "cpu", "cpu"), torch.zeros(())
    figures = {"noise.7": noise.initial + off_by, "noise.7.next": noise.fresh(here, here)}
    save_file(figures, folder / "units.safetensors")
    (folder / "index.json").write_text(json.dumps({"cases": cases}))
    return folder


def noise_case(**changes: object) -> dict[str, object]:
    return {
        "id": "units.noise.7",
        "file": "units.safetensors",
        "params": {"seed": 7},
        "outputs": ["noise.7", "noise.7.next"],
        "tolerance_relative_l2": 2e-5,
        **changes,
    }


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["parity.py", *arguments])
    return parity.main()


def test_a_case_that_agrees_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, str(make_folder(tmp_path, noise_case()))) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pass  units.noise.7  rel 0.00e+00  abs 0.00e+00  tolerance 2e-05",
        "1 of 1 cases pass",
    ]


def test_a_case_beyond_its_tolerance_fails_and_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path, noise_case(), off_by=0.01)
    assert run_main(monkeypatch, str(folder), "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["passed"]
    assert told["relative"] == pytest.approx(0.01, rel=0.1)
    assert told["absolute"] == pytest.approx(0.01, rel=0.01)


def test_the_tolerance_is_the_case_s_own(tmp_path: Path) -> None:
    case = noise_case(tolerance_relative_l2=0.1)
    (verdict,) = parity.run_cases(make_folder(tmp_path, case, off_by=0.01))
    assert verdict.passed


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"id": "magic.7"}, "nothing here can run this case yet"),
        ({"outputs": ["noise.7", "noise.7.more"]}, "no result for noise.7.more"),
        ({"outputs": []}, "the case names no figure"),
        ({"params": {}}, "KeyError: 'seed'"),
        ({"id": "guid.new", "params": {"magic": 1}}, "nothing here honours magic yet"),
    ],
)
def test_what_cannot_be_run_has_failed(
    tmp_path: Path, changes: dict[str, object], note: str
) -> None:
    (verdict,) = parity.run_cases(make_folder(tmp_path, noise_case(**changes)))
    assert not verdict.passed
    assert note in verdict.note


@pytest.mark.parametrize(
    ("name", "fits"),
    [("units", True), ("units.noise.7", True), ("*noise*", True), ("unit", False)],
)
def test_cases_are_chosen_by_id_beginning_or_pattern(tmp_path: Path, name: str, fits: bool) -> None:
    verdicts = list(parity.run_cases(make_folder(tmp_path, noise_case()), [name]))
    assert bool(verdicts) == fits


@pytest.mark.parametrize("arguments", [("missing",), (".", "--only", "nothing")])
def test_asking_for_what_is_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    make_folder(tmp_path, noise_case())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_main(monkeypatch, *arguments)
    assert ended.value.code == 2


NOT_A_NUMBER = torch.tensor([1.0, float("nan")])


@pytest.mark.parametrize(
    ("ours", "figure", "relative"),
    [
        (torch.zeros(2), torch.zeros(3), float("inf")),
        (NOT_A_NUMBER, torch.ones(2), float("inf")),
        (torch.ones(2), NOT_A_NUMBER, 0.0),
        (torch.ones(2), torch.zeros(2), 2**0.5),
    ],
)
def test_shapes_and_numbers_that_are_none_are_not_overlooked(
    ours: Tensor, figure: Tensor, relative: float
) -> None:
    assert distance(ours, figure).relative == pytest.approx(relative)


def test_pictures_have_a_signal_to_noise_ratio() -> None:
    figure = torch.full((4, 4, 3), 100, dtype=torch.uint8)
    assert distance(figure, figure).psnr == float("inf")
    assert distance(figure + 1, figure).psnr == pytest.approx(48.13, abs=0.01)


def test_json_values_must_be_equal() -> None:
    assert distance({"a": [1, 2]}, {"a": [1, 2]}).relative == 0.0
    assert distance({"a": [1, 2]}, {"a": [1, 3]}).relative == float("inf")


def test_what_json_value_differs_is_told_and_what_is_left_out_is_not_compared() -> None:
    figure = {"a": [1, {"b": 2}], "c": 3}
    left_out = distance({"a": [1, {"b": LeftOut("no such thing")}], "c": 3}, figure)
    assert (left_out.relative, left_out.note) == (0.0, "no such thing")
    assert distance({"a": [1, {"b": 5}], "c": 3}, figure).note == "differs.a[1].b: 5, not 2"
    assert distance({"a": [1, {}], "c": 3}, figure).relative == float("inf")


def test_a_level_stands_for_all_that_is_truncated_to_it() -> None:
    figure = torch.full((4, 4, 3), 100, dtype=torch.uint8)
    assert distance(figure + 0.9, figure).relative == 0.0
    beyond = distance(figure + 1.5, figure)
    assert beyond.relative == pytest.approx(0.005, rel=0.02)
    assert beyond.psnr == pytest.approx(48.13, abs=0.01)


def test_figures_that_stand_in_the_index_itself_are_compared_too(tmp_path: Path) -> None:
    (verdict,) = parity.run_cases(make_folder(tmp_path, noise_case(calls=[{"steps": 30}])))
    assert "no result for call.0" in verdict.note
