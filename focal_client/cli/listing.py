"""``focal queue``, ``focal history``, ``focal models``: tables, or JSON with ``--json``."""

import argparse
from datetime import datetime
from typing import Any, Final

import msgspec

from focal_client.cli.output import Output
from focal_client.client import Client

_MIB: Final = 2**20


def add_parsers(commands: Any) -> None:
    """Add the commands."""
    queue = commands.add_parser("queue", help="what runs and what waits")
    queue.add_argument("-n", "--number", type=int, default=50, help="at most so many that wait")
    queue.set_defaults(run=show_queue)
    history = commands.add_parser("history", help="what was made, newest first")
    history.add_argument("search", nargs="*", help="words that stand in the prompt")
    history.add_argument("-n", "--number", type=int, default=20, help="at most so many")
    history.add_argument("--status", default="", help="finished, failed, stop or skip")
    history.set_defaults(run=show_history)
    models = commands.add_parser("models", help="what a request may name")
    models.set_defaults(run=show_models)
    for parser in (queue, history, models):
        parser.add_argument("--json", action="store_true", help="the server's reply as it is")


def show_queue(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Running tasks with their progress, then the waiting ones in order."""
    view = client.queue.view(options.number)
    if options.json:
        return _as_json(view, output)
    rows = [(f"{each.progress}%", each.task_id, each.prompt) for each in view.running]
    rows += [(str(each.position + 1), each.task_id, each.prompt) for each in view.pending]
    output.table(("place", "task", "prompt"), rows)
    return 0


def show_history(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Ended tasks: when, how, which pictures."""
    found = client.tasks.history(" ".join(options.search), options.status, limit=options.number)
    if options.json:
        return _as_json(found, output)
    rows = [
        (_when(card.finish_mills), card.status, card.task_id, " ".join(card.images), card.prompt)
        for card in found.items
    ]
    output.table(("ended", "status", "task", "pictures", "prompt"), rows)
    return 0


def show_models(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Model files, presets, and what is loaded."""
    overview = client.models()
    if options.json:
        return _as_json(overview, output)
    files = {
        "checkpoint": overview.checkpoints,
        "lora": overview.loras,
        "vae": overview.vaes,
        "embedding": overview.embeddings,
        "upscaler": overview.upscalers,
    }
    loaded = {model.name for model in overview.loaded}
    rows = [
        (kind, file.name, f"{file.bytes / _MIB:.0f} MiB", "loaded" if file.name in loaded else "")
        for kind, several in files.items()
        for file in several
    ]
    rows += [("preset", preset.name, "", preset.problem) for preset in overview.presets]
    output.table(("kind", "name", "size", "state"), rows)
    return 0


def _as_json(reply: object, output: Output) -> int:
    output.line(msgspec.json.format(msgspec.json.encode(reply)).decode())
    return 0


def _when(mills: int | None) -> str:
    """Local time; "" for a task of which none is known."""
    if mills is None or mills < 0:
        return ""
    return datetime.fromtimestamp(mills / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
