"""The explorer's page: networks, images, ONNX Runtime and the page's own files in one HTML file."""

import base64
import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from vaelab.distributions import StandardNormal, draw_at
from vaelab.errors import UserError, check_output, visible
from vaelab.evaluation.ex_post import is_real
from vaelab.explore.networks import networks
from vaelab.export.formats import write_onnx
from vaelab.export.networks import Direction
from vaelab.files import folder
from vaelab.model.ladder import Ladder
from vaelab.ops import generator, normal
from vaelab.run.load import Run
from vaelab.run.ranking import describe
from vaelab.vae import VAE

SCRIPTS = ("networks.js", "pictures.js", "sliders.js", "map.js", "own.js", "codes.js", "main.js")
SHOWN, FEWEST = 1000, 50  # images on the map
BYTES = 6_000_000  # of these images, unless they are few
DRAWS = 500  # of a prior that the page cannot draw from, of each temperature
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.25)
EXPORTS = re.compile(r"export\{(.*?)\};\s*$", re.DOTALL)


def write_page(run: Run, output: Path) -> int:
    """Write the page, whole or not at all; returns its bytes.

    Args:
        run: of which the dataset is on this machine.
        output: the page.

    Raises:
        UserError: if the networks cannot be told in ONNX, or the output cannot be written.
    """
    check_output(output, ".html")
    if not isinstance(run.model, VAE | Ladder):
        raise UserError(f"the explorer shows a VAE or a ladder, got {type(run.model).__name__}")
    found = networks(run.model, run.facts)
    content = page(page_data(run, found["encode"]), _onnx(found)).encode()
    folder.write(output.parent, output.name, content)
    return len(content)


def page_data(run: Run, encode: Direction) -> dict[str, Any]:
    """All that the page shows of a run besides its networks, as JSON can hold it; arrays are packed."""
    model, facts, dataset = run.model, run.facts, run.dataset
    whole = dataset.test()
    most = max(FEWEST, min(SHOWN, BYTES // whole.images[0].nbytes))
    rows = torch.linspace(0, len(whole.images) - 1, min(most, len(whole.images))).round().long()
    split = whole.at(rows)
    x = dataset.pixels(split.images, generator(0, "explorer"))  # as the model sees them
    u, kl = _embedded(run, encode, x, split.labels)
    points, axes = _on_a_plane(u)
    choices = run.config.get("choices", {})
    conditional = model.takes_labels
    return {
        "title": visible(f"{choices.get('model', 'a model')} on {dataset.name}"),
        "setting": visible(describe(run.record.measured_on)),
        "shape": list(facts.image_shape),
        "dim": model.latent_dim,
        "groups": getattr(model, "dims", [model.latent_dim]),
        "isLadder": isinstance(model, Ladder),
        "classes": _class_names(run) if conditional else None,
        "isBinary": dataset.pixel_kind == "binary",
        "draws": _draws(run),
        "codebook": _codebook(run),
        "kl": None if kl is None else [round(value, 5) for value in kl.tolist()],
        "axes": axes,
        "labels": None if split.labels is None else split.labels.tolist(),
        "labelNames": dataset.stored.classes if dataset.stored is not None else None,
        "images": _packed(x.mul(255).round().byte().numpy()),
        "latents": _packed(u.numpy()),
        "points": _packed(points.numpy()),
    }


def page(data: Mapping[str, Any], graphs: Mapping[str, bytes]) -> str:
    """The HTML; its policy lets only its own script run and lets nothing be fetched, whatever the data holds."""
    here = files("vaelab.explore")
    own = here / "explorer_page"
    runtime = EXPORTS.sub(_as_object, (here / "runtime/ort.mjs").read_text())
    script = f"const ort = (() => {{\n{runtime}}})();\n" + "".join((own / name).read_text() for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    packed = {name: _packed(graph) for name, graph in graphs.items()}
    wasm = base64.b64encode((here / "runtime/ort.wasm.gz").read_bytes()).decode()
    return Template((own / "page.html").read_text()).substitute(
        policy=policy,
        style=(own / "style.css").read_text(),
        # a `<` could end the element that holds the data
        data=json.dumps({**data, "graphs": packed}, separators=(",", ":")).replace("<", "\\u003c"),
        wasm=wasm,
        script=script,
    )


def _onnx(found: Mapping[str, Direction]) -> dict[str, bytes]:
    """The graphs by name, each held against the model."""
    with tempfile.TemporaryDirectory() as place:
        graphs = {}
        for name, each in found.items():
            path = Path(place) / f"{name}.onnx"
            write_onnx(each, path)
            graphs[name] = path.read_bytes()
        return graphs


@torch.no_grad()
def _embedded(run: Run, encode: Direction, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """u (N, D) of images at zero noise, and the mean KL by dimension, (D,), where it is known."""
    noise = torch.zeros(1, run.model.latent_dim)
    found = []
    for row in range(len(x)):
        y = (labels[row : row + 1].long(),) if run.model.takes_labels else ()
        found.append(dict(zip(encode.outputs, encode.module(x[row : row + 1], noise, *y), strict=True)))
    u = torch.cat([each["u"] for each in found])
    if not u.isfinite().all():
        raise UserError("the latents of the test images are not finite, so that there is nothing to show")
    if "kl" not in found[0] or found[0]["kl"].shape[1] != u.shape[1]:
        return u, None
    return u, torch.cat([each["kl"] for each in found]).mean(0)


def _on_a_plane(u: Tensor) -> tuple[Tensor, list[str]]:
    """Points (N, 2) of latents and the names of the axes: of two dimensions they themselves, else principal ones."""
    if u.shape[1] == 1:
        return torch.cat([u, torch.zeros_like(u)], 1), ["z1", ""]
    if u.shape[1] == 2:
        return u, ["z1", "z2"]
    centred = u - u.mean(0)
    found = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    directions = pad(found, (0, 0, 0, 2 - len(found)))  # of a single image there is one
    points = centred @ directions.T
    shares = points.square().sum(0) / centred.square().sum().clamp(min=1e-12)
    return points, [f"principal axis {number + 1}, {share:.0%} of the variance" for number, share in enumerate(shares)]


@torch.no_grad()
def _draws(run: Run) -> dict[str, Any] | None:
    """Latents of the prior by temperature and class, (T, classes, n, D) packed; None where the page can draw them."""
    model, classes = run.model, run.facts.num_classes or 1
    if isinstance(model, Ladder):
        return None
    count = max(1, DRAWS // classes) if model.takes_labels else DRAWS
    found = []
    for label in range(classes) if model.takes_labels else (None,):
        y = None if label is None else torch.full((count,), label)
        p = model.prior_of(y)
        if isinstance(p, StandardNormal):
            return None
        noise = normal((count, model.latent_dim), generator(0, "explorer's draws", label or 0), torch.device("cpu"))
        found.append([draw_at(p, noise, each) for each in TEMPERATURES] if is_real(model) else [p.draw(noise)[0]])
    draws = torch.stack([torch.stack(each) for each in found]).transpose(0, 1)
    temperatures = TEMPERATURES if is_real(model) else (1.0,)
    return {"temperatures": temperatures, "count": count, "latents": _packed(draws.float().numpy())}


def _codebook(run: Run) -> dict[str, Any] | None:
    """The codes of a discrete posterior, (K, d) packed; None for others."""
    if isinstance(run.model, Ladder) or not hasattr(run.model.posterior, "prior"):
        return None
    table = run.model.posterior.prior().table.detach().float().contiguous()
    return {"codes": len(table), "size": table.shape[1], "table": _packed(table.numpy())}


def _class_names(run: Run) -> list[str]:
    stored = run.dataset.stored
    names = stored.classes if stored is not None else None
    count = run.facts.num_classes or 0
    return [visible(name) for name in names[:count]] if names is not None else [str(number) for number in range(count)]


def _packed(content: np.ndarray | bytes) -> str:
    raw = content if isinstance(content, bytes) else content.tobytes()
    return base64.b64encode(gzip.compress(raw, mtime=0)).decode()


def _as_object(found: re.Match[str]) -> str:
    """`return {Tensor: de, ...}` of `export{de as Tensor, ...}`: a module's exports as what a function gives."""
    pairs = (pair.split(" as ") for pair in found[1].split(","))
    names = ", ".join(f"{name}: {local}" for local, name in pairs if name in ("InferenceSession", "Tensor", "env"))
    return f"\nreturn {{{names}}};\n"
