"""What the page computes, as modules of tensors alone.

The page moves u (N, D): of a VAE the latents z themselves, of a ladder the noise of each group, from which the latents
follow, given those above them: z_l = mean + temperature * std * u_l.
"""

import copy

import torch
from torch import Tensor, nn

from vaelab.distributions import Normal
from vaelab.export.networks import Direction
from vaelab.model.ladder import Ladder
from vaelab.parts import Facts, Latent, Model


class Decode(nn.Module):
    """u (N, D), an image x (1, C, H, W), the temperature (G,) of each group -> mean of p(x|u), log p(x|u) (N,)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, u: Tensor, x: Tensor, temperature: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [0, 1], and nats."""
        if isinstance(self.model, Ladder):
            groups = u.unsqueeze(0).split(self.model.dims, -1)
            params = self.model.decode_noise(groups, temperature, y)[0]
        else:
            params = self.model.decode(u, y)
        likelihood = self.model.likelihood
        return likelihood.mean(params), likelihood.log_prob(params.unsqueeze(0), x.expand(u.shape[0], -1, -1, -1))[0]


class Encode(nn.Module):
    """An image x (1, C, H, W) and noise (S, D) -> u (S, D); its KL (S, D) or (S, 1), and the std (S, D) of a normal q.

    What a posterior has not is not given: `outputs` says what is.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def outputs(self, facts: Facts) -> tuple[str, ...]:
        """The names of what is given."""
        x, noise = torch.zeros(1, *facts.image_shape), torch.zeros(1, self.model.latent_dim)
        y = torch.zeros(1, dtype=torch.int64) if self.model.takes_labels else None
        return tuple(self._found(x, noise, y))

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """What `outputs` names."""
        return tuple(self._found(x, noise, y).values())

    def _found(self, x: Tensor, noise: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        is_ladder = isinstance(self.model, Ladder)
        groups = tuple(noise.unsqueeze(1).split(self.model.dims, -1)) if is_ladder else noise.unsqueeze(1)  # (S, 1, D)
        latents = self.model.encode(x, y)(groups).latents
        found = {"u": torch.cat([_u(latent, is_ladder)[:, 0] for latent in latents], -1)}
        if all(latent.log_q is not None for latent in latents):
            found["kl"] = torch.cat([_kl(latent) for latent in latents], -1)
        if not is_ladder and isinstance(latents[0].q, Normal):
            found["std"] = (0.5 * latents[0].q.log_var).exp().expand_as(noise)
        return found


def networks(model: Model, facts: Facts) -> dict[str, Direction]:
    """`decode` and `encode`, in float32, on the CPU."""
    model = copy.deepcopy(model).cpu().requires_grad_(False)
    model.bfloat16 = False
    seeded, groups = torch.Generator().manual_seed(0), len(getattr(model, "dims", [1]))
    noise = torch.randn(2, model.latent_dim, generator=seeded)
    x = torch.rand(1, *facts.image_shape, generator=seeded).round()
    y, names = ((torch.zeros(2, dtype=torch.int64),), ("y",)) if model.takes_labels else ((), ())
    one = tuple(each[:1] for each in y)
    encode = Encode(model).eval()
    return {
        "decode": Direction(
            *(Decode(model).eval(), (noise, x, torch.ones(groups), *y), ("u", "x", "temperature", *names)),
            *(("image", "log_px"), ("u", *names)),
        ),
        "encode": Direction(encode, (x, noise, *one), ("x", "noise", *names), encode.outputs(facts), ("noise",)),
    }


def _u(latent: Latent, is_ladder: bool) -> Tensor:
    return (latent.z - latent.p.mean) * torch.exp(-0.5 * latent.p.log_var) if is_ladder else latent.z


def _kl(latent: Latent) -> Tensor:
    """By dimension where a closed form is known, else an estimate by the samples, (S, D) or (S, 1)."""
    kl = latent.q.kl(latent.p)
    if kl is None:
        return latent.log_q - latent.p.log_prob(latent.z)
    return kl[:, 0] if kl.dim() == 3 else kl.expand(latent.z.shape[0], -1)
