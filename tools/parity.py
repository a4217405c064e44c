"""Runs a folder of reference figures through the pipeline's own code, a line a case.

``python tools/parity.py FOLDER [--only NAME…] [--json]`` exits with 0 if every case passed, 1 if
one did not, 2 if asked for something that is not there. What nothing can run yet has failed.
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

if __package__ in {None, ""}:  # run as a file: the packages stand one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.parity_cases.compare import Verdict, judge
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.registry import runner_for

PLAIN_KERNEL = "on the plain attention kernel"


def chosen_cases(fixtures: Fixtures, only: Sequence[str]) -> list[Case]:
    """The cases that one of the names fits (id, its beginning, pattern); all without names."""
    return [case for case in fixtures.cases if not only or any(_fits(case.id, n) for n in only)]


def _fits(case_id: str, name: str) -> bool:
    return case_id == name or case_id.startswith(f"{name}.") or fnmatchcase(case_id, name)


def run_case(case: Case, fixtures: Fixtures) -> Verdict:
    """The verdict on one case; whatever goes wrong is the case's failure.

    A case that misses its figures is run again on torch's plain attention kernel, which rounds
    otherwise than the one torch picks: ill-conditioned cases (a flat picture, a level on the edge
    of truncation) tell them apart. The note says so.
    """
    runner = runner_for(case.id)
    if runner is None:
        return _failed(case, "nothing here can run this case yet")
    try:
        verdict = judge(case, fixtures, runner(case, fixtures))
        if verdict.passed or math.isinf(verdict.relative):
            return verdict
        with sdpa_kernel(SDPBackend.MATH):
            again = judge(case, fixtures, runner(case, fixtures))
    except Exception as error:  # a case that breaks has failed; the others go on
        logging.getLogger(__name__).debug("%s", case.id, exc_info=True)
        return _failed(case, f"{type(error).__name__}: {error}")
    if not again.passed:
        return verdict
    first = f"{PLAIN_KERNEL}; {verdict.relative:.2e} on the usual one"
    return msgspec.structs.replace(again, note="; ".join(filter(None, (first, again.note))))


def _failed(case: Case, note: str) -> Verdict:
    return Verdict(name=case.id, passed=False, tolerance=case.tolerance, note=note)


def run_cases(folder: Path, only: Sequence[str] = ()) -> Iterator[Verdict]:
    """Every chosen case in the index's order, one thread, float32, on the CPU."""
    fixtures = Fixtures(folder)
    for case in chosen_cases(fixtures, only):
        yield run_case(case, fixtures)


def as_line(verdict: Verdict) -> str:
    """One line for people."""
    parts = [
        "pass" if verdict.passed else "FAIL",
        verdict.name,
        f"rel {verdict.relative:.2e}",
        f"abs {verdict.absolute:.2e}",
        f"tolerance {verdict.tolerance:.0e}",
    ]
    if verdict.psnr is not None:
        parts.append(f"psnr {verdict.psnr:.1f} dB")
    return "  ".join([*parts, f"({verdict.note})" if verdict.note else ""]).rstrip()


def as_json(verdict: Verdict) -> str:
    """One line for programs; JSON has no infinity, so what was not measured is null."""
    values = msgspec.to_builtins(verdict)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[key] = None
    return msgspec.json.encode(values).decode()


def main() -> int:
    """Run the cases that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a folder with an index.json of figures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="id or pattern")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    asked = parser.parse_args()
    if not (asked.folder / "index.json").is_file():
        parser.error(f"{asked.folder} holds no index.json")
    total = failed = 0
    for verdict in run_cases(asked.folder, asked.only):
        print(as_json(verdict) if asked.json else as_line(verdict), flush=True)
        total, failed = total + 1, failed + (not verdict.passed)
    if not total:
        parser.error("no case has such a name")
    if not asked.json:
        print(f"{total - failed} of {total} cases pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
