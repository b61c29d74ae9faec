"""The model card of an exported folder: what it is, what it reached, how it is loaded."""

from collections.abc import Sequence

import yaml

from vaelab.errors import visible
from vaelab.evaluation.metrics import label, metric
from vaelab.run.load import Run
from vaelab.run.ranking import describe

SPLITS = {"val": "validation", "test": "test"}
WEIGHTS = """import vaelab

run = vaelab.load_run("hf://USER/NAME")  # once it is on the hub; here the folder's path
images = run.sample(10)  # (10, {shape}) in [0, 1]
"""
TORCH = """import torch

run = torch.export.load("{part}.pt2").module()
{given} = {example}
{name} = run({given}{labels})[0]  # {told}
"""
ONNX = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{part}.onnx")
{given} = {example}
{name} = session.run(None, {{"{given}": {given}{labels}}})[0]  # {told}
"""


def card(run: Run, kind: str, parts: Sequence[str], files: Sequence[str]) -> str:
    """The card in Markdown, with the front matter that a hub reads.

    Args:
        run: that is exported.
        kind: `onnx`, `torch` or `safetensors`.
        parts: the networks that are exported.
        files: that lie beside it.
    """
    choices = {key: visible(value) for key, value in run.config.get("choices", {}).items()}
    name = f"{choices.get('model', 'VAE')} on {choices.get('dataset', 'images')}"
    front = {"library_name": "vaelab", "tags": ["variational-autoencoder", *_tags(choices)]}
    shape = ", ".join(map(str, run.facts.image_shape))
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
            f"# {name}\n",
            f"A variational autoencoder of images ({shape}) with {run.model.latent_dim:,} latent dimensions.\n",
            _metrics(run),
            "## Loading\n",
            _fenced(_loading(run, kind, parts, shape), "python"),
            "## Files\n",
            "\n".join(f"- `{file}`" for file in files) + "\n",
            "## Config\n",
            _fenced(yaml.safe_dump({k: v for k, v in run.config.items() if k != "logger"}, sort_keys=False), "yaml"),
        ]
    )


def _loading(run: Run, kind: str, parts: Sequence[str], shape: str) -> str:
    """How what is exported is loaded and used, of two networks the decoder."""
    if kind == "safetensors":
        return WEIGHTS.format(shape=shape)
    part, classes, dim = parts[-1], run.facts.num_classes or 1, run.model.latent_dim
    given, row, name, told = {
        "encoder": ("x", shape, "z", f"z at zero noise, (10, {dim}); the second output, if there is one, is its std"),
        "decoder": ("z", str(dim), "images", f"one a row of z, (10, {shape}) in [0, 1]"),
    }[part]
    zeros = {"torch": f"torch.zeros(10, {row})", "onnx": f"np.zeros((10, {row}), np.float32)"}[kind]
    labels = {"torch": f", torch.arange(10) % {classes}", "onnx": f', "y": np.arange(10) % {classes}'}[kind]
    template = {"torch": TORCH, "onnx": ONNX}[kind]
    conditional = labels if run.model.takes_labels else ""
    return template.format(part=part, given=given, example=zeros, labels=conditional, name=name, told=told)


def _tags(choices: dict[str, str]) -> list[str]:
    return [choices[group] for group in ("model", "dataset", "objective") if group in choices]


def _metrics(run: Run) -> str:
    """A table of what the run reached, and on what; where nothing is recorded, nothing."""
    rows = []
    for split, name in SPLITS.items():
        for key, value in run.recorded(split).items():
            of = metric(key)
            rows.append(f"| {name} | {visible(label(key))} | {value:.{of.digits}f} | {of.unit} |\n")
    if not rows:
        return ""
    conditions = visible(describe(run.record.measured_on))
    return (
        f"| split | metric | value | unit |\n| --- | --- | --- | --- |\n{''.join(rows)}\nMeasured on: {conditions}.\n"
    )


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}{fence}\n"
