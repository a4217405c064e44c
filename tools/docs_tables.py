"""The tables of ``docs/``, made from the OpenAPI document, in any language. Knows no files."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

APPLIES: Final = "x-default"  # of a request's field: what leaving it out comes to
# The fields of the generate request by subject, as the docs show them.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Prompt and styles": (
        "prompt",
        "negative_prompt",
        "style_selections",
        "prompt_expansion",
        "read_wildcards_in_order",
        "preset",
    ),
    "Mode, size, number and seed": (
        "performance_selection",
        "aspect_ratios_selection",
        "overwrite_width",
        "overwrite_height",
        "overwrite_step",
        "image_number",
        "image_seed",
        "disable_seed_increment",
    ),
    "Models": (
        "base_model_name",
        "refiner_model_name",
        "refiner_switch",
        "overwrite_switch",
        "refiner_swap_method",
        "vae_name",
        "loras",
    ),
    "Sampling": (
        "guidance_scale",
        "sharpness",
        "sampler_name",
        "scheduler_name",
        "adaptive_cfg",
        "guidance_rescale",
        "clip_skip",
        "adm_scaler_positive",
        "adm_scaler_negative",
        "adm_scaler_end",
        "freeu_enabled",
        "freeu_b1",
        "freeu_b2",
        "freeu_s1",
        "freeu_s2",
    ),
    "Vary and upscale": (
        "uov_input_image",
        "uov_method",
        "upscale_multiple",
        "upscale_model",
        "overwrite_vary_strength",
        "overwrite_upscale_strength",
    ),
    "Inpaint and outpaint": (
        "inpaint_input_image",
        "inpaint_mask_image_upload",
        "inpaint_additional_prompt",
        "inpaint_engine",
        "inpaint_strength",
        "inpaint_respective_field",
        "inpaint_erode_or_dilate",
        "invert_mask_checkbox",
        "inpaint_disable_initial_latent",
        "outpaint_selections",
        "outpaint_distance",
        "inpaint_mask_upload_checkbox",
        "inpaint_advanced_masking_checkbox",
        "debugging_inpaint_preprocessor",
    ),
    "Image prompts and controls": (
        "controlnet_image",
        "mixing_image_prompt_and_vary_upscale",
        "mixing_image_prompt_and_inpaint",
        "controlnet_softness",
        "canny_low_threshold",
        "canny_high_threshold",
        "skipping_cn_preprocessor",
        "debugging_cn_preprocessor",
        "input_image_checkbox",
        "current_tab",
    ),
    "Enhance": (
        "enhance_input_image",
        "enhance_checkbox",
        "enhance_ctrls",
        "enhance_uov_method",
        "enhance_uov_processing_order",
        "enhance_uov_prompt_type",
        "save_final_enhanced_image_only",
        "dino_erode_or_dilate",
        "debugging_dino",
        "debugging_enhance_masks_checkbox",
    ),
    "The answer and the files": (
        "async_process",
        "stream_output",
        "require_base64",
        "webhook_url",
        "output_format",
        "save_metadata_to_images",
        "metadata_scheme",
        "generate_image_grid",
        "disable_preview",
        "disable_intermediate_results",
        "black_out_nsfw",
    ),
}
REQUEST: Final = "GenerateRequest"
NESTED: Final = {
    "Lora": "A slot of `loras`",
    "ControlNetImage": "A slot of `controlnet_image`",
    "EnhanceControl": "A slot of `enhance_ctrls`",
}
TOOL_BODIES: Final = {
    "DescribeImage": "`POST /v1/tools/describe-image`",
    "GenerateMask": "`POST /v1/tools/generate_mask`",
    "ReadMetadata": "`POST /v1/tools/read-metadata`",
}
_TYPES: Final = {"integer": "integer", "number": "number", "string": "text", "boolean": "boolean"}
_FIELD_HEADS: Final = ("field", "type and range", "default", "meaning")
# A cell may hold a code span with a bar in it, escaped.
_CELL_BORDER: Final = re.compile(r"(?<!\\)\|")
_CODE: Final = re.compile(r"`[^`]*`")  # such as a default: the same in every language


class MissingText(KeyError):
    """There is no translation of a text."""


class Texts:
    """Texts in one language; remembers which were asked for. English has no table."""

    def __init__(self, table: Mapping[str, str] | None = None) -> None:
        self._table = table
        self.used: set[str] = set()

    def __call__(self, text: str, *values: object) -> str:
        """The text, with ``values`` in the places of its ``{}``. Raises MissingText."""
        self.used.add(text)
        if self._table is None or not text:
            return text.format(*values) if values else text
        if text not in self._table:
            raise MissingText(text)
        found = self._table[text]
        return found.format(*values) if values else found


def endpoints_table(document: Mapping[str, Any], texts: Texts) -> str:
    """Every operation: what it does, and which errors it may answer with."""
    rows = [
        (f"`{method} {path}`", texts(operation["summary"]), " ".join(_errors(operation)))
        for method, path, operation in _operations(document)
    ]
    return _table(_heads(texts, "method and path", "what it does", "errors"), rows)


def queries_table(document: Mapping[str, Any], texts: Texts) -> str:
    """Every parameter in a query or a header. Operations that take the same share their rows."""
    paths: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for method, path, operation in _operations(document):
        rows = tuple(
            _parameter_row(each, texts) for each in operation["parameters"] if each["in"] != "path"
        )
        if rows:
            paths.setdefault(rows, []).append(f"`{method} {path}`")
    heads = _heads(texts, "endpoint", "parameter", "type and range", "default", "meaning")
    lines = [(", ".join(asked), *row) for rows, asked in paths.items() for row in rows]
    return _table(heads, lines)


def request_tables(document: Mapping[str, Any], texts: Texts) -> str:
    """The generate request by subject, then the structs in it."""
    schemas = document["components"]["schemas"]
    fields = schemas[REQUEST]["properties"]
    parts = []
    for title, names in GROUPS.items():
        rows = [_field_row(name, fields[name], texts) for name in names]
        parts.append(f"### {texts(title)}\n\n{_table(_heads(texts, *_FIELD_HEADS), rows)}")
    parts += [_struct(schemas[name], title, texts) for name, title in NESTED.items()]
    return "\n\n".join(parts)


def tool_tables(document: Mapping[str, Any], texts: Texts) -> str:
    """The bodies of the image tools."""
    schemas = document["components"]["schemas"]
    return "\n\n".join(_struct(schemas[name], title, texts) for name, title in TOOL_BODIES.items())


def translate_table(table: str, texts: Texts, columns: Iterable[int]) -> str:
    """A Markdown table with its head and these columns in another language."""
    head, line, *rows = table.splitlines()
    wanted = frozenset(columns)
    made = [
        tuple(
            texts(cell) if i in wanted and not _CODE.fullmatch(cell) else cell
            for i, cell in enumerate(cells_of(row))
        )
        for row in rows
    ]
    translated = _line(texts(cell) for cell in cells_of(head))
    return "\n".join((translated, line, *(_line(cells) for cells in made)))


def cells_of(row: str) -> list[str]:
    """The cells of a Markdown table's row."""
    return [cell.strip() for cell in _CELL_BORDER.split(row.strip())[1:-1]]


def described_texts(node: object) -> Iterator[str]:
    """Every summary and description in an OpenAPI document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("summary", "description") and isinstance(value, str):
                yield value
            elif key != "examples":
                yield from described_texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from described_texts(value)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _errors(operation: Mapping[str, Any]) -> Iterator[str]:
    return (status for status in operation["responses"] if status >= "400")


def _struct(schema: Mapping[str, Any], title: str, texts: Texts) -> str:
    rows = [_field_row(name, field, texts) for name, field in schema["properties"].items()]
    return f"### {texts(title)}\n\n{_table(_heads(texts, *_FIELD_HEADS), rows)}"


def _field_row(name: str, field: Mapping[str, Any], texts: Texts) -> tuple[str, ...]:
    meaning = texts(field.get("description", ""))
    return f"`{name}`", _type(field, texts), _default(field), _escaped(meaning)


def _parameter_row(parameter: Mapping[str, Any], texts: Texts) -> tuple[str, ...]:
    schema = parameter["schema"]
    name = f"`{parameter['name']}`"
    if parameter["in"] == "header":
        name = f"{texts('header')} {name}"
    default = f"({texts('required')})" if parameter["required"] else _default(schema)
    return name, _type(schema, texts), default, _escaped(texts(parameter["description"]))


def _type(schema: Mapping[str, Any], texts: Texts) -> str:
    """A schema in a few words: ``integer 1-32``, ``list of Lora, at most 5``."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value not in ("", None))
    if "items" in schema and schema.get("minItems") == schema.get("maxItems", ...):
        return texts("{} times {}", schema["maxItems"], _type(schema["items"], texts))
    if "items" in schema:
        item = {key: value for key, value in schema["items"].items() if key != "maxLength"}
        text = texts("list of {}", _type(item, texts))
        return text + _limit(schema, "maxItems", ", at most {}", texts)
    kind = schema["type"]
    text = texts(_TYPES[kind if isinstance(kind, str) else kind[0]]) + _range(schema)
    return text + _limit(schema, "maxLength", ", at most {} characters", texts)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    if high is None:
        return f" ≥ {low}"
    return f" {low}…{high}" if low is not None else f" ≤ {high}"


def _limit(schema: Mapping[str, Any], key: str, words: str, texts: Texts) -> str:
    return texts(words, schema[key]) if key in schema else ""


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default", schema.get(APPLIES, ...))
    return "" if value is ... else f"`{json.dumps(value, ensure_ascii=False)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _heads(texts: Texts, *heads: str) -> tuple[str, ...]:
    return tuple(texts(head) for head in heads)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    line = "|" + "---|" * len(heads)
    return "\n".join((_line(heads), line, *(_line(row) for row in rows)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")
