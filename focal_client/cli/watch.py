"""``focal watch``: what happens, a line an event, until it is interrupted."""

import argparse
from datetime import datetime
from typing import Any

import msgspec

from focal_client.cli.output import Output
from focal_client.client import Client
from focal_client.events import Event


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("watch", help="what happens, live; reconnects by itself")
    parser.add_argument("types", nargs="*", help="event types, such as task.finished; else all")
    parser.add_argument("--task", help="only this task")
    parser.add_argument("--since", type=int, help="replay the events after this number first")
    parser.add_argument("--json", action="store_true", help="the events as they are")
    parser.set_defaults(run=run)


def run(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Print events. A preview's picture is left out of the plain form."""
    for event in client.events(*options.types, task_id=options.task, since=options.since):
        output.line(msgspec.json.encode(event).decode() if options.json else line_of(event))
    return 0


def line_of(event: Event) -> str:
    """Time, type, task, and what the event says."""
    moment = datetime.fromtimestamp(event.ts / 1000).astimezone().strftime("%H:%M:%S")
    said = {name: value for name, value in event.data.items() if name != "image"}
    data = msgspec.json.encode(said).decode() if said else ""
    return " ".join(part for part in (moment, event.type, event.task_id or "-", data) if part)
