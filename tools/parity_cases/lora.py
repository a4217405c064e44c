"""Cases of LoRAs: the weights that they give, and a run with one in."""

import torch
from torch import Tensor

from pipeline.weights.lora import ChosenLora, LoraStack
from pipeline.weights.lora_names import LoraModules, name_modules
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sampling import sample
from tools.parity_cases.text import clip_modules

FILE = "tiny_lora.safetensors"


def chosen_lora(case: Case, fixtures: Fixtures) -> ChosenLora:
    """The folder's LoRA; a case without a weight has that of ``lora.merge``."""
    merged = next(each for each in fixtures.cases if each.id == "lora.merge")
    return ChosenLora(FILE, fixtures.folder / FILE, (merged.params | case.params)["weight"])


def merge(case: Case, fixtures: Fixtures) -> Results:
    """The merged weights of the network and the text encoders; afterwards they are as before."""
    modules = LoraModules(fixtures.unet().module, *clip_modules(fixtures))
    names, stack = name_modules(modules), LoraStack(modules, in_place=False)

    def weight(output: str) -> Tensor:
        name = output.removeprefix("lora.").removeprefix("clip.").removesuffix(".weight")
        found: Tensor = names[name].get_parameter("weight").detach()
        return found

    before = {output: weight(output) for output in case.outputs}
    stack.use([chosen_lora(case, fixtures)])
    merged = {output: weight(output) for output in case.outputs}
    stack.remove()
    if not all(torch.equal(weight(output), before[output]) for output in case.outputs):
        raise ValueError("the weights are not what they were before the LoRA")
    return merged


def sample_with_lora(case: Case, fixtures: Fixtures) -> Results:
    """A whole run with the LoRA in the network alone."""
    stack = LoraStack(LoraModules(fixtures.unet().module), in_place=False)
    stack.use([chosen_lora(case, fixtures)])
    try:
        return sample(case, fixtures)
    finally:
        stack.remove()


RUNNERS = {"lora.merge": merge, "lora.sample": sample_with_lora}
