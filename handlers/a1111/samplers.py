"""A1111's names of samplers and schedules, from and to this server's."""

from collections.abc import Mapping
from typing import Final

import msgspec

from handlers.http.refusal import RequestRefused
from pipeline.metadata.titles import SAMPLER_TITLES, sampling_of
from pipeline.request.choices import SAMPLER_NAMES, SCHEDULER_NAMES

AUTOMATIC: Final = "automatic"
# What "Automatic" stands for beside a sampler, with "_gpu" or without; else the plain schedule.
_OWN_SCHEDULE: Final[Mapping[str, str]] = {
    "dpm_2": "karras",
    "dpm_2_ancestral": "karras",
    "dpmpp_2s_ancestral": "karras",
    "dpmpp_2m": "karras",
    "dpmpp_sde": "karras",
    "restart": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_3m_sde": "exponential",
    "ddim": "ddim_uniform",
    "lcm": "lcm",
    "tcd": "tcd",
}
_PLAIN_SCHEDULE: Final = "normal"
_LABELS: Final[Mapping[str, str]] = {
    "sgm_uniform": "SGM Uniform",
    "ddim_uniform": "DDIM",
    "align_your_steps": "Align Your Steps",
    "lcm": "LCM",
    "tcd": "TCD",
}


class Sampler(msgspec.Struct, frozen=True, kw_only=True):
    """A sampler that requests may name, by its title or an alias."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class Scheduler(msgspec.Struct, frozen=True, kw_only=True):
    """A noise schedule that requests may name, by its name or label."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1
    need_inner_model: bool = False


def samplers() -> list[Sampler]:
    """Every sampler under A1111's title; two that are one sampler here share it."""
    aliases: dict[str, list[str]] = {}
    for name in SAMPLER_NAMES:
        aliases.setdefault(_title(name), []).append(name)
    return [
        Sampler(name=title, aliases=names, options={"scheduler": own_schedule(names[-1])})
        for title, names in aliases.items()
    ]


def schedulers() -> list[Scheduler]:
    """Every schedule, after the choice to follow the sampler."""
    listed = [Scheduler(name=name, label=_label(name)) for name in SCHEDULER_NAMES]
    return [Scheduler(name=AUTOMATIC, label="Automatic"), *listed]


def sampling_fields(sampler: str | None, schedule: str | None) -> dict[str, object]:
    """The request's sampler and schedule; what is left out stays the preset's.

    Raises RequestRefused: 404 for a name that is not known.
    """
    sampler, schedule = (sampler or "").strip(), (schedule or "").strip()
    fields: dict[str, object] = {}
    if sampler.lower() not in ("", AUTOMATIC):
        name, within = sampling_of(sampler)
        if name not in SAMPLER_NAMES:
            raise RequestRefused(404, "not_found", f"Sampler not found: {sampler[:120]}")
        fields["sampler_name"] = name
        fields["scheduler_name"] = within or own_schedule(name)
    if schedule.lower() not in ("", AUTOMATIC):
        fields["scheduler_name"] = _schedule_named(schedule)
    return fields


def own_schedule(sampler: str) -> str:
    """The schedule that A1111 runs a sampler with where none is chosen."""
    return _OWN_SCHEDULE.get(sampler.removesuffix("_gpu"), _PLAIN_SCHEDULE)


def _schedule_named(text: str) -> str:
    name = text.lower().replace(" ", "_")
    if name not in SCHEDULER_NAMES:
        name = sampling_of("", text.replace("_", " "))[1]
    if not name:
        raise RequestRefused(404, "not_found", f"Scheduler not found: {text[:120]}")
    return name


def _title(name: str) -> str:
    if name.startswith("dpmpp_3m_sde"):
        return "DPM++ 3M SDE"  # A1111's own; Fooocus writes its name as it is
    return SAMPLER_TITLES.get(name, name)


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " ").title())
