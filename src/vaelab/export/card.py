"""The model card of an exported folder: what it is, what it reached, how it is loaded."""

from collections.abc import Sequence

import yaml

from vaelab.errors import visible
from vaelab.evaluation.metrics import label, metric
from vaelab.run.load import Run
from vaelab.run.ranking import describe

SPLITS = {"val": "validation", "test": "test"}
LOADED = {
    "safetensors": """```python
import vaelab

run = vaelab.load_run("hf://USER/NAME")  # once it is on the hub; here the folder's path
images = run.sample(10)  # (10, {shape}) in [0, 1]
```""",
    "torch": """```python
import torch

decode = torch.export.load("decoder.pt2").module()
(images,) = decode(torch.randn(10, {dim}){labels})  # (10, {shape}) in [0, 1]
```""",
    "onnx": """```python
import numpy as np
import onnxruntime

decode = onnxruntime.InferenceSession("decoder.onnx")
z = np.random.randn(10, {dim}).astype(np.float32)
(images,) = decode.run(None, {{"z": z{onnx_labels}}})  # (10, {shape}) in [0, 1]
```""",
}


def card(run: Run, kind: str, files: Sequence[str]) -> str:
    """The card in Markdown, with the front matter that a hub reads.

    Args:
        run: that is exported.
        kind: `onnx`, `torch` or `safetensors`.
        files: that lie beside it.
    """
    choices = {key: visible(value) for key, value in run.config.get("choices", {}).items()}
    name = f"{choices.get('model', 'VAE')} on {choices.get('dataset', 'images')}"
    front = {"library_name": "vaelab", "tags": ["variational-autoencoder", *_tags(choices)]}
    shape = ", ".join(map(str, run.facts.image_shape))
    conditional = run.model.takes_labels
    loading = LOADED[kind].format(
        shape=shape,
        dim=run.model.latent_dim,
        labels=", torch.arange(10)" if conditional else "",
        onnx_labels=', "y": np.arange(10)' if conditional else "",
    )
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
            f"# {name}\n",
            f"A variational autoencoder of images ({shape}) with {run.model.latent_dim:,} latent dimensions.\n",
            _metrics(run),
            "## Loading\n",
            f"{loading}\n",
            "## Files\n",
            "\n".join(f"- `{file}`" for file in files) + "\n",
            "## Config\n",
            _fenced(yaml.safe_dump(dict(run.config), sort_keys=False), "yaml"),
        ]
    )


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
