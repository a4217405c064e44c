"""Which function runs a case."""

from collections.abc import Callable

from tools.parity_cases import (
    control,
    inpaint,
    lora,
    pictures_in,
    prepost,
    refiner,
    requests,
    sampling,
    text,
    units,
    vae,
)
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures

Runner = Callable[[Case, Fixtures], Results]

MODULES = (
    units,
    sampling,
    text,
    vae,
    prepost,
    lora,
    refiner,
    requests,
    control,
    inpaint,
    pictures_in,
)


def runner_for(case_id: str) -> Runner | None:
    """The runner whose beginning fits best; None for a case that nothing here can run yet."""
    known: dict[str, Runner] = {}
    for module in MODULES:
        known.update(module.RUNNERS)
    fitting = [beginning for beginning in known if case_id.startswith(beginning)]
    return known[max(fitting, key=len)] if fitting else None
