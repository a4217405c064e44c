"""Samplers by the name that requests use."""

from typing import Final

from pipeline.errors import InvalidParameter
from pipeline.request.choices import SAMPLER_NAMES
from pipeline.sampling import (
    samplers_distilled,
    samplers_dpm,
    samplers_dpmpp,
    samplers_euler,
    samplers_unipc,
)
from pipeline.sampling.interface import Sampler
from pipeline.sampling.noise_levels import NoiseLevels

_PLAIN: Final[dict[str, Sampler]] = {
    "euler": samplers_euler.euler,
    "euler_ancestral": samplers_euler.euler_ancestral,
    "heun": samplers_euler.heun,
    "heunpp2": samplers_euler.heunpp2,
    "dpm_2": samplers_dpm.dpm_2,
    "dpm_2_ancestral": samplers_dpm.dpm_2_ancestral,
    "lms": samplers_euler.lms,
    "dpm_fast": samplers_dpm.dpm_fast,
    "dpm_adaptive": samplers_dpm.dpm_adaptive,
    "dpmpp_2s_ancestral": samplers_dpmpp.dpmpp_2s_ancestral,
    "dpmpp_sde": samplers_dpmpp.dpmpp_sde,
    "dpmpp_sde_gpu": samplers_dpmpp.dpmpp_sde,
    "dpmpp_2m": samplers_dpmpp.dpmpp_2m,
    "dpmpp_2m_sde": samplers_dpmpp.dpmpp_2m_sde,
    "dpmpp_2m_sde_gpu": samplers_dpmpp.dpmpp_2m_sde,
    "dpmpp_3m_sde": samplers_dpmpp.dpmpp_3m_sde,
    "dpmpp_3m_sde_gpu": samplers_dpmpp.dpmpp_3m_sde,
    "ddpm": samplers_distilled.ddpm,
    "lcm": samplers_distilled.lcm,
    "restart": samplers_euler.restart,
    "ddim": samplers_euler.euler,
    "uni_pc": samplers_unipc.uni_pc,
    "uni_pc_bh2": samplers_unipc.uni_pc_bh2,
}

# These draw noise along one Brownian path; the others fresh noise, if any.
BROWNIAN_SAMPLERS: Final = frozenset(name for name in _PLAIN if "_sde" in name)


def sampler_for(name: str, levels: NoiseLevels) -> Sampler:
    """The sampler ``name`` for a network with these levels. Raises InvalidParameter."""
    if name == "tcd":
        return samplers_distilled.make_tcd(levels)
    if name not in _PLAIN:
        known = ", ".join(SAMPLER_NAMES)
        raise InvalidParameter(("sampler_name",), f"unknown sampler; there are: {known}")
    return _PLAIN[name]
