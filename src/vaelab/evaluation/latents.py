"""What the latents carry: KL by dimension or group, active units, use of codes."""

import torch
from torch import Tensor

from vaelab.errors import UserError
from vaelab.evaluation.subject import Found, Subject
from vaelab.ops import generator
from vaelab.parts import Latent

ACTIVE = 0.01  # variance over the images of the posterior means (Burda et al., 2016, arXiv:1509.00519)


@torch.no_grad()
def latents(subject: Subject) -> Found:
    """KL of each dimension, or of each group where it has no dimensions; active units; use and perplexity of codes.

    A unit is active where the variance over the images of its mean under q(z|x), here z at zero noise, is above 0.01.
    """
    kl: list[Tensor] = []  # of each group, sums over the images (D,) or (1,)
    counts: list[Tensor] = []  # of each group of discrete codes, how often each was used
    for index, (x, y) in enumerate(subject.batches()):
        trace = subject.model.encode(x, y)(subject.model.noise(1, len(x), generator(subject.seed, "latents", index)))
        found = [sums for latent in trace.latents if (sums := _kl(latent)) is not None]
        kl = [old + new for old, new in zip(kl, found, strict=True)] if kl else found
        used = [torch.bincount(q.codes.flatten(), minlength=q.num_codes) for q in _coded(trace.latents)]
        counts = [old + new for old, new in zip(counts, used, strict=True)] if counts else used
    images = len(subject.split.images)
    variance = subject.embedded.var(0, correction=0)
    metrics: dict[str, float] = {"active_units": int((variance > ACTIVE).sum())}
    lists = {"variance_of_means": variance.tolist()}
    by_dimension = [part.tolist() for part in kl if len(part) > 1]
    if by_dimension:
        lists["kl_by_dimension"] = [value / images for part in by_dimension for value in part]
    if len(kl) > 1 or (kl and not by_dimension):
        lists["kl_by_group"] = [part.sum().item() / images for part in kl]
    used = _use(counts) if counts else {}
    settings = dict.fromkeys(used, f"of {', '.join(str(len(count)) for count in counts)} codes")
    setting = f"of {len(variance)} units; variance of the means above {ACTIVE}"
    return Found(metrics | used, lists=lists, setting=setting, settings=settings)


def _kl(latent: Latent) -> Tensor | None:
    """KL summed over the images, (D,) or (1,), in float64 on the CPU; None without a density."""
    try:
        return latent.kl.double().sum(0).cpu()
    except UserError:
        return None


def _coded(groups: tuple[Latent, ...]) -> list:
    return [latent.q for latent in groups if hasattr(latent.q, "codes") and hasattr(latent.q, "num_codes")]


def _use(counts: list[Tensor]) -> dict[str, float]:
    """Share of the codes used, and perplexity exp(H) of their use, means over the groups of codes.

    The perplexity is the number of codes that would be needed if all were used alike (van den Oord et al., 2017,
    arXiv:1711.00937).
    """
    shares = [count.double() / count.sum() for count in counts]
    perplexities = [torch.special.entr(share).sum().exp().item() for share in shares]
    used = [(share > 0).double().mean().item() for share in shares]
    return {"codes_used": sum(used) / len(used), "code_perplexity": sum(perplexities) / len(perplexities)}
