"""``focal generate``: a prompt, a few options, files."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from focal_client.cli.output import Output
from focal_client.client import Client
from focal_client.errors import FocalError
from focal_client.pictures import Picture
from focal_client.structs import GenerateRequest

_FORMATS: Final = {".png": "png", ".jpg": "jpg", ".jpeg": "jpeg", ".webp": "webp"}
_EXAMPLE: Final = (
    'example: focal generate "a red star on a blue background" -o star.png --size 256*256 --seed 7'
)
_KNOWN_BY_SERVER: Final = ("/inputs/", "/outputs/", "http://", "https://", "data:")
# Image options: each a file here, or anything that the server takes as an image.
_IMAGES: Final = {
    "vary": ("uov_input_image", {"uov_method": "Vary (Subtle)"}),
    "upscale": ("uov_input_image", {"uov_method": "Upscale (2x)"}),
    "inpaint": ("inpaint_input_image", {}),
    "mask": ("inpaint_mask_image_upload", {}),
}


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "generate",
        help="make pictures",
        epilog=_EXAMPLE,
        description="Make pictures and save them; prints where. What is left out is the preset's.",
    )
    parser.add_argument("prompt", nargs="?", help="what to draw; - reads it from standard input")
    parser.add_argument("-o", "--output", default=".", help="file, folder/, or - (one picture)")
    parser.add_argument("-n", "--number", type=int, help="pictures to make")
    parser.add_argument("--negative", help="what to keep out of the picture")
    parser.add_argument("--size", help="WIDTH*HEIGHT in pixels; x may stand for *")
    parser.add_argument("--seed", type=int, help="seed of the first picture")
    parser.add_argument("--steps", type=int, help="steps, instead of the mode's")
    parser.add_argument("--performance", help='mode, such as "Speed" or "Lightning"')
    parser.add_argument("--style", action="append", help="a style by name; may be repeated")
    parser.add_argument("--model", help="checkpoint by name")
    parser.add_argument("--preset", help="where left-out values come from")
    for name in _IMAGES:
        parser.add_argument(f"--{name}", metavar="PICTURE", help=f"picture to {name}")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any field of the request; the value as JSON, or text",
    )
    parser.set_defaults(run=run)


def run(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Make the pictures; a task that is interrupted is stopped."""
    target = Path(options.output)
    params = request_of(options, target)
    for field in sorted(params.keys() - GenerateRequest.__annotations__.keys()):
        output.error(f"warning: a field that this client does not know: {field}")
    _make_folder(options.output)  # before pictures are made for it
    task = client.submit(**params)
    try:
        with output.progress() as show:
            for event in task.events():
                if event.type == "task.progress":
                    show(event.data["progress"], event.data["message"])
        pictures = task.pictures()
    except KeyboardInterrupt:
        task.stop()
        raise
    if options.output == "-":
        if len(pictures) != 1:
            raise FocalError(f"{len(pictures)} pictures do not fit standard output")
        output.bytes(pictures[0].data)
        return 0
    for path in saved(pictures, target):
        output.line(str(path))
    return 0


def request_of(options: argparse.Namespace, target: Path) -> dict[str, Any]:
    """The request that the options stand for: only what was said."""
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    named = {
        "prompt": prompt,
        "negative_prompt": options.negative,
        "aspect_ratios_selection": options.size,
        "image_number": options.number,
        "image_seed": options.seed,
        "overwrite_step": options.steps,
        "performance_selection": options.performance,
        "style_selections": options.style,
        "base_model_name": options.model,
        "preset": options.preset,
        "output_format": _FORMATS.get(target.suffix.lower()),
    }
    params = {name: value for name, value in named.items() if value is not None}
    for name, (field, others) in _IMAGES.items():
        if (value := getattr(options, name)) is not None:
            params |= {**others, field: _picture(value)}
    for assignment in options.set:
        field, found, value = assignment.partition("=")
        if not found:
            raise FocalError(f"--set {assignment}: expected FIELD=VALUE")
        params[field] = _value(value)
    return params


def saved(pictures: list[Picture], target: Path) -> list[Path]:
    """Save in a folder, in one file, or in numbered ones; where they lie."""
    if target.is_dir() or len(pictures) == 1:
        return [picture.save(target) for picture in pictures]
    names = (target.with_stem(f"{target.stem}-{i}") for i in range(1, len(pictures) + 1))
    return [picture.save(path) for picture, path in zip(pictures, names, strict=True)]


def _make_folder(output: str) -> None:
    """The folder that pictures go to: what ends in a slash, else where the file is to lie."""
    is_folder = output.endswith(("/", os.sep))
    (Path(output) if is_folder else Path(output).parent).mkdir(parents=True, exist_ok=True)


def _picture(text: str) -> str | Path:
    """A file here, else what the server knows: a path of its own, a URL."""
    path = Path(text)
    if path.is_file():
        return path
    if path.suffix.lower() in _FORMATS and not text.startswith(_KNOWN_BY_SERVER):
        raise FocalError(f"there is no file {text}")
    return text


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
