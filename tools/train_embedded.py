"""Make the embedded model, step by step: ``python -m tools.train_embedded --help``."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from pipeline.models.manager import EMBEDDED_FOLDER
from tools.embedded import card, evaluate, export, sheet
from tools.embedded.companions import measure, steps
from tools.embedded.companions.pictures import HINTS, draw_sets, hint_sets, mask_sets
from tools.embedded.dataset import as_picture, draw_pixels, encode_sets
from tools.embedded.painter import Painter
from tools.embedded.tokenizer import ensure_tokenizers
from tools.embedded.train import TrainingPlan, train
from tools.embedded.vae import VaePlan, export_vae, train_vae
from tools.embedded.vocabulary import SCOPES

CARD: Final = EMBEDDED_FOLDER.parent / "README.md"
DESCRIPTION: Final = """\
The embedded model is trained on pictures this tool draws itself. Each step writes into --work
(or, where it makes part of the model, into pipeline/embedded/model) and takes up what an
earlier, unfinished run left there; `all` runs the first table's in order, `companions` the
second's:

  draw       draw pictures for the VAE, and a sheet of them to look at
  tokenizer  make the vocabulary, unless the model has one: its weights belong to its tokens
  vae        train the VAE, unless the model has one, and whiten its latents
  encode     draw the training pictures and turn them into latents
  unet       train UNet and text encoders: one CUDA device, else --processes CPU processes
  export     write the averaged weights in float16, with the preview's projection
  evaluate   examine the model on held-out triples through the server's engine
  sheet      a contact sheet of 24 prompts
  card       write the figures into the model card

  companion-pictures  draw the pictures for the companions, with masks and hints
  image-prompt        train the image encoder and the adapter
  canny, cpds         train a control-LoRA
  inpaint             train the inpaint head and patch
  upscaler            train the upscaler
  measure             measure every companion that is there
"""


class Places:
    """Where the steps keep what they make."""

    def __init__(self, work: Path) -> None:
        self.pixels = work / "pixels.npy"
        self.captions = work / "pixels.json"
        self.drawn_sheet = work / "drawn.png"
        self.vae = work / "vae.pt"
        self.sets = work / "sets"
        self.checkpoint = work / "model.pt"
        self.result = work / "result.json"
        self.sheet = work / "sheet.png"
        work.mkdir(parents=True, exist_ok=True)


def run_draw(options: argparse.Namespace) -> None:
    places = Places(options.work)
    if places.captions.exists():
        print(f"{places.pixels} is there")
        return
    pixels, captions = draw_pixels(0, options.vae_pictures, (256, 256), options.scope)
    np.save(places.pixels, pixels)
    places.captions.write_text(json.dumps(captions), "utf-8")
    shown = [as_picture(each) for each in pixels[:48]]
    sheet.write_sheet(shown, captions[:48], places.drawn_sheet, columns=8)
    print(f"{len(captions)} pictures; look at {places.drawn_sheet}")


def run_tokenizer(options: argparse.Namespace) -> None:
    captions_file = Places(options.work).captions
    captions = json.loads(captions_file.read_text("utf-8")) if captions_file.exists() else []
    made = ensure_tokenizers(EMBEDDED_FOLDER, captions)
    print("made the vocabulary" if made else "the model has its vocabulary")


def run_vae(options: argparse.Namespace) -> None:
    if (EMBEDDED_FOLDER / "vae" / "config.json").exists():
        print("the model has its VAE; delete pipeline/embedded/model/vae to train another")
        return
    places = Places(options.work)
    plan = VaePlan(places.pixels, places.vae, options.vae_steps)
    train_vae(plan)
    print(f"VAE: {export_vae(plan, EMBEDDED_FOLDER / 'vae'):.1f} dB on unseen pictures")


def run_encode(options: argparse.Namespace) -> None:
    folder = Places(options.work).sets
    vae_dir = EMBEDDED_FOLDER / "vae"
    made = encode_sets(folder, options.pictures, options.scope, vae_dir, options.processes)
    print(f"{len(made)} new sets in {folder}")


def run_unet(options: argparse.Namespace) -> None:
    places = Places(options.work)
    plan = TrainingPlan(
        data_dir=places.sets,
        model_dir=EMBEDDED_FOLDER,
        checkpoint=places.checkpoint,
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        processes=options.processes,
    )
    train(plan)


def run_export(options: argparse.Namespace) -> None:
    size = export.export_model(Places(options.work).checkpoint, EMBEDDED_FOLDER, options.scope)
    print(f"{size / 1e6:.1f} MB in {EMBEDDED_FOLDER}")


def run_evaluate(options: argparse.Namespace) -> None:
    painter = Painter(options.device, options.set)
    result = evaluate.evaluate(painter, options.scope, options.count)
    evaluate.write_result(result, Places(options.work).result)
    print(evaluate.as_text(result))


def run_sheet(options: argparse.Namespace) -> None:
    painter = Painter(options.device, options.set)
    images = [painter(prompt, seed) for seed, prompt in enumerate(sheet.PROMPTS)]
    path = Places(options.work).sheet
    sheet.write_sheet(images, sheet.PROMPTS, path)
    print(path)


def run_card(options: argparse.Namespace) -> None:
    places = Places(options.work)
    samples = torch.load(places.checkpoint, map_location="cpu")["n"]
    size = export.folder_bytes(EMBEDDED_FOLDER)
    card.update_card(CARD, evaluate.read_result(places.result), samples, size)
    print(f"figures written into {CARD}")


def run_companion_pictures(options: argparse.Namespace) -> None:
    folder = options.work / steps.WORK / steps.SETS
    vae_dir = EMBEDDED_FOLDER / "vae"
    for make in (draw_sets, mask_sets):
        make(folder, options.companion_pictures, options.scope, vae_dir, options.processes)
    for kind in HINTS:
        hint_sets(folder, kind)
    print(f"pictures, masks and hints in {folder}")


def run_companion(name: str, options: argparse.Namespace) -> None:
    trained = steps.TRAIN[name](options.work / steps.WORK)
    print(f"{name}: {trained.samples:,} samples in {trained.seconds / 60:.1f} minutes")


def run_measure(options: argparse.Namespace) -> None:
    work = options.work / steps.WORK
    figures = measure.measure_all(steps.FOLDER, work, options.companion_count)
    evaluate.write_result(figures, work / "figures.json")
    print(json.dumps(figures, indent=1))


STEPS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "draw": run_draw,
    "tokenizer": run_tokenizer,
    "vae": run_vae,
    "encode": run_encode,
    "unet": run_unet,
    "export": run_export,
    "evaluate": run_evaluate,
    "sheet": run_sheet,
    "card": run_card,
}
COMPANIONS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "companion-pictures": run_companion_pictures,
    **{name: partial(run_companion, name) for name in steps.TRAIN},
    "measure": run_measure,
}


def make_parser() -> argparse.ArgumentParser:
    """One set of options for all steps, so that ``all`` takes what its steps take."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.train_embedded",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "step", choices=[*STEPS, "all", *COMPANIONS, "companions"], help="what to do"
    )
    parser.add_argument("--scope", choices=list(SCOPES), default="small", help="what is drawn")
    parser.add_argument("--work", type=Path, default=Path("build/embedded"), metavar="DIR")
    cores = os.cpu_count() or 1
    parser.add_argument("--processes", type=int, default=cores, help=f"default: {cores}")
    training = parser.add_argument_group("training")
    training.add_argument("--vae-pictures", type=int, default=2000, metavar="N")
    training.add_argument("--vae-steps", type=int, default=6000, metavar="N")
    training.add_argument("--pictures", type=int, default=20_000, metavar="N", help="for the UNet")
    training.add_argument("--steps", type=int, default=20_000, help="UNet steps in all")
    training.add_argument("--batch", type=int, default=16, help="samples a step and process")
    training.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    training.add_argument("--companion-pictures", type=int, default=5000, metavar="N")
    measuring = parser.add_argument_group("evaluate and sheet")
    measuring.add_argument("--count", type=int, default=200, help="prompts of the examination")
    measuring.add_argument("--companion-count", type=int, default=50, help="pictures each way")
    measuring.add_argument("--device", default="auto")
    measuring.add_argument(
        "--set",
        type=json.loads,
        default={},
        metavar="JSON",
        help="request fields other than the preset's, such as '{\"guidance_scale\": 7}'",
    )
    return parser


def main(arguments: Sequence[str]) -> None:
    options = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    groups = {"all": list(STEPS), "companions": list(COMPANIONS)}
    for name in groups.get(options.step, [options.step]):
        (STEPS | COMPANIONS)[name](options)


if __name__ == "__main__":
    main(sys.argv[1:])
