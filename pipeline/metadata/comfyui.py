"""Parses ComfyUI's graph of nodes, as it stands in a picture's ``prompt``, into Fooocus's keys.

A graph can do anything. What is followed is the plain case: from the first sampler back to its
model, LoRAs, texts and latent, over nodes of ComfyUI itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.metadata.record import Parsed, Record, shown_names

Node = Mapping[str, Any]

_MOST_STEPS: Final = 200  # nodes followed on one way; graphs may have loops
_SDXL_CLIP_SKIP: Final = 2  # what ComfyUI takes for SDXL where no node says otherwise
_SAMPLERS: Final = ("KSampler", "KSamplerAdvanced")
_FOLLOWED: Final = frozenset(
    (
        *_SAMPLERS,
        "CheckpointLoaderSimple",
        "CheckpointLoader",
        "LoraLoader",
        "LoraLoaderModelOnly",
        "CLIPSetLastLayer",
        "CLIPTextEncode",
        "CLIPTextEncodeSDXL",
        "EmptyLatentImage",
        "VAELoader",
        "VAEDecode",
        "SaveImage",
        "PreviewImage",
    )
)


def is_graph(entries: Mapping[str, object]) -> bool:
    """Whether JSON is a graph as ComfyUI runs it."""
    return bool(entries) and all(
        isinstance(node, dict) and isinstance(node.get("class_type"), str)
        for node in entries.values()
    )


def is_workflow(entries: Mapping[str, object]) -> bool:
    """Whether JSON is the drawing of a graph, which does not name the values of its nodes."""
    return isinstance(entries.get("nodes"), list) and "links" in entries


def parse_graph(entries: Mapping[str, Any]) -> Parsed:
    """What can be known of a graph; nodes that were not followed are told as unread."""
    graph = _Graph(entries)
    sampler = graph.first(_SAMPLERS)
    record: Record = {}
    if sampler is not None:
        record = _sampling(sampler) | _sources(graph, sampler)
    kinds = (str(node["class_type"]) for node in entries.values())
    return Parsed(
        record=record,
        scheme=None,
        program="ComfyUI",
        unread=shown_names(kind for kind in kinds if kind not in _FOLLOWED),
    )


def parse_workflow() -> Parsed:
    """A drawing alone says nothing that could be read for certain."""
    return Parsed(record={}, scheme=None, program="ComfyUI", unread=("the workflow's values",))


class _Graph:
    """Follows the inputs of nodes, which are values or ``[node, output]``."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes

    def first(self, kinds: tuple[str, ...]) -> Node | None:
        """The first node of these kinds that starts from an empty latent, else the first."""
        found = [node for node in self._nodes.values() if node["class_type"] in kinds]
        whole = (node for node in found if self.source(node, "latent_image", "EmptyLatentImage"))
        return next(whole, found[0] if found else None)

    def chain(self, node: Node, name: str) -> Iterator[Node]:
        """The nodes before ``node`` along its input ``name``, nearest first."""
        for _ in range(_MOST_STEPS):
            link = _inputs(node).get(name)
            found = self._nodes.get(str(link[0])) if isinstance(link, list) and link else None
            if not isinstance(found, dict):
                return
            node = found
            yield node

    def source(self, node: Node, name: str, kind: str) -> Node | None:
        """The node directly before ``node`` at its input ``name``, if it is of that kind."""
        before = next(self.chain(node, name), None)
        return before if before is not None and before["class_type"] == kind else None


def _sampling(sampler: Node) -> Record:
    inputs = _inputs(sampler)
    names = {
        "steps": "steps",
        "cfg": "guidance_scale",
        "sampler_name": "sampler",
        "scheduler": "scheduler",
        "seed": "seed",
        "noise_seed": "seed",
    }
    return {
        key: inputs[name]
        for name, key in names.items()
        if isinstance(inputs.get(name), str | int | float)
    }


def _sources(graph: _Graph, sampler: Node) -> Record:
    """Texts, size, model, LoRAs and clip skip."""
    record: Record = {"clip_skip": _SDXL_CLIP_SKIP}
    for key, name in (("negative_prompt", "negative"), ("prompt", "positive")):
        text = next(graph.chain(sampler, name), None)
        if text is not None and (told := _text_of(text)) is not None:
            record |= {key: told, "clip_skip": _clip_skip(graph, text)}
    if latent := graph.source(sampler, "latent_image", "EmptyLatentImage"):
        inputs = _inputs(latent)
        record["resolution"] = f"({inputs.get('width')}, {inputs.get('height')})"
    loras: list[object] = []
    for node in graph.chain(sampler, "model"):
        inputs = _inputs(node)
        if isinstance(inputs.get("lora_name"), str):
            loras.insert(0, [inputs["lora_name"], inputs.get("strength_model", 1.0), ""])
        if isinstance(inputs.get("ckpt_name"), str):
            record["base_model"] = inputs["ckpt_name"]
    return record | {"loras": loras}


def _clip_skip(graph: _Graph, text: Node) -> int:
    layers = (_inputs(node).get("stop_at_clip_layer") for node in graph.chain(text, "clip"))
    return next((abs(layer) for layer in layers if isinstance(layer, int)), _SDXL_CLIP_SKIP)


def _text_of(node: Node) -> str | None:
    values = (_inputs(node).get(name) for name in ("text", "text_g", "text_l"))
    return next((value for value in values if isinstance(value, str)), None)


def _inputs(node: Node) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}
