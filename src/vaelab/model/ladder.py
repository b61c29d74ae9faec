"""A top-down hierarchical VAE: groups of spatial latents on a residual trunk."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.distributions import Normal
from vaelab.errors import ArgumentError, check_integer
from vaelab.model.blocks import Residual, Up, activated, check_resolutions, conv, sizes_of
from vaelab.model.latent_group import Group
from vaelab.ops import normal
from vaelab.parts import Latent, Likelihood, Trace

Draw = Callable[[int, Tensor, Normal], Tensor]  # from a group's number, the trunk and p(z_l) to z_l (K, B, D_l)


class Ladder(nn.Module):
    """Top-down hierarchical VAE: groups of spatial latents, each given those above it, on a shared residual trunk.

    p(z) = p(z_1) p(z_2|z_1) ... p(z_L|z_<L), q(z|x) = q(z_1|x) q(z_2|z_1, x) ... q(z_L|z_<L, x); log p in nats.

    A bottom-up residual network gives features of x at each resolution; a trunk runs top-down from a learned constant
    at the smallest. At each group the trunk gives p(z_l|z_<l), trunk and features of x together q(z_l|z_<l, x), both
    diagonal normals, and a map of z_l is added to the trunk. q is given relative to p, so that both begin near each
    other: mean_q = mean_p + d_mean, log_var_q = log_var_p + d_log_var. p(x|z) is read off the end of the trunk.

    Latents are spatial: those of a group are D_l = `channels_z` * h * w numbers at a resolution of h x w. `latent_dim`
    is the sum over the groups, which follows from the structure: the configuration's `latent` has no meaning here.

    With classes it is conditional, p(z|y) p(x|z, y) and q(z|x, y): a learned image of the class is added to x, and a
    learned map of it to the constant that the trunk begins with.

    Sonderby et al., 2016 (arXiv:1602.02282); the residual posterior of NVAE (Vahdat & Kautz, 2020, arXiv:2007.03898);
    the shared trunk of VDVAE (Child, 2021, arXiv:2011.10650).

    Args:
        image_shape: (C, H, W).
        out_channels: M, the channels of likelihood parameters.
        likelihood: p(x|z) from the end of the trunk.
        bfloat16: run the networks in bfloat16; densities stay in float32.
        classes: of the labels that it takes; 0 for none.
        patch: side of the squares of pixels that are the channels of one place at the first resolution; of 2, where the
            work at the image's own resolution, most of a small network's, is a quarter.
        channels: channels at the first resolution and after each halving, which rounds up.
        blocks: of each resolution, residual blocks of the bottom-up network, and of the trunk below the groups.
        groups: of each resolution, groups of latents; the last, the smallest resolution, has at least one.
        channels_z: channels of each group of latents.

    Raises:
        ValueError: if a number is out of range, the lists are not of one length, or the image is not of whole patches.

    Examples:
        >>> from vaelab.likelihood.bernoulli import BernoulliLikelihood
        >>> structure = {"patch": 1, "channels": [8, 16, 16], "blocks": [1, 1, 1], "groups": [0, 1, 2], "channels_z": 4}
        >>> likelihood = BernoulliLikelihood((1, 28, 28), centred=False)
        >>> ladder = Ladder((1, 28, 28), 1, likelihood, bfloat16=False, classes=0, **structure)
        >>> noise = ladder.noise(5, 2, torch.Generator())  # (5, 2, 196), (5, 2, 196), (5, 2, 784)
        >>> trace = ladder(torch.rand(2, 1, 28, 28), noise)
        >>> trace.kl.shape
        torch.Size([2])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_channels: int,
        likelihood: Likelihood,
        bfloat16: bool,
        classes: int,
        patch: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        groups: Sequence[int],
        channels_z: int,
    ) -> None:
        super().__init__()
        first_shape = _shape_in_patches(image_shape, patch)
        check_resolutions(first_shape, channels)
        _check_counts("blocks", blocks, len(channels), 0)
        _check_counts("groups", groups, len(channels), 1)
        check_integer("channels_z", channels_z, 1)
        sizes = sizes_of(first_shape, len(channels))
        self.patch = patch
        self.likelihood = likelihood
        self.bfloat16 = bfloat16
        self.bottom_up = nn.ModuleList()
        for i, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            down = conv(channels[i - 1], width, stride=2) if i else conv(first_shape[0], width)
            self.bottom_up.append(nn.Sequential(down, *(Residual(width, width) for _ in range(count))))
        self.constant = nn.Parameter(torch.randn(1, channels[-1], *sizes[-1]))
        self.takes_labels = classes > 0
        if self.takes_labels:
            self.images_of_classes = nn.Parameter(torch.zeros(classes, *image_shape))
            self.constants_of_classes = nn.Parameter(torch.zeros(classes, *self.constant.shape[1:]))
        self.top_down = nn.ModuleList()
        for i in reversed(range(len(channels))):
            if i + 1 < len(channels):
                self.top_down.append(Up(channels[i + 1], channels[i], sizes[i]))
            self.top_down.extend(Group(channels[i], channels_z, sizes[i], i, sum(groups)) for _ in range(groups[i]))
            self.top_down.extend(Residual(channels[i], channels[i]) for _ in range(blocks[i]))
        self.to_params = activated(channels[0], out_channels * patch**2)
        self.dims = [group.dim for group in self._groups()]  # D_l
        self.latent_dim = sum(self.dims)

    def noise(self, samples: int, images: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Standard normal noise (K, B, D_l) of each group from the top down, on the model's device."""
        return tuple(normal((samples, images, dim), generator, self.constant.device) for dim in self.dims)

    def forward(self, x: Tensor, noise: tuple[Tensor, ...], y: Tensor | None = None) -> Trace:
        """Encode x (B, C, H, W) in [0, 1], draw z from the top down with the noise, score x."""
        return self.encode(x, y)(noise)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Callable[[tuple[Tensor, ...]], Trace]:
        """What is left of a pass once the bottom-up network has run: from noise to the trace."""
        features = self._features(x, y)

        def trace(noise: tuple[Tensor, ...]) -> Trace:
            latents, params = self._infer(features, noise, y)
            return Trace(self.likelihood.log_prob(params, x), latents)

        return trace

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        y: Tensor | None = None,
        pixel_noise: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """Images (N, C, H, W) in [0, 1] for z ~ p(z): the mean of p(x|z) or, with `pixel_noise`, a draw from it.

        The standard deviation of each group given those above is multiplied by `temperature`.
        """
        noise = self.noise(1, count, generator)
        params = self.decode_noise(noise, [temperature] * len(noise), y)[0]
        return self.likelihood.sample(params, generator).clamp(0, 1) if pixel_noise else self.likelihood.mean(params)

    def embed(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """z (B, D) of images x (B, C, H, W) at zero noise: the mean of each group given those above."""
        latents, _ = self._infer(self._features(x, y), self._no_noise(x), y)
        return torch.cat([latent.z[0] for latent in latents], dim=-1)

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x|z) at z of zero noise, (B, C, H, W) in [0, 1]."""
        return self.likelihood.mean(self._infer(self._features(x, y), self._no_noise(x), y)[1][0])

    def decode(self, groups: Sequence[Tensor], y: Tensor | None = None) -> Tensor:
        """Likelihood parameters (K, B, M, H, W) of latents (K, B, D_l), from the top down."""
        return self._descend(lambda group, _, p: groups[group], y)

    def decode_noise(
        self, noise: Sequence[Tensor], temperatures: Sequence[float] | Tensor, y: Tensor | None = None
    ) -> Tensor:
        """Likelihood parameters (K, B, M, H, W) of latents drawn by noise (K, B, D_l), from the top down.

        The standard deviation of each group given those above it is multiplied by its temperature.
        """
        return self._descend(lambda group, _, p: p.draw(temperatures[group] * noise[group])[0], y)

    def _no_noise(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.new_zeros(1, x.shape[0], dim) for dim in self.dims)

    def _groups(self) -> list["Group"]:
        return [stage for stage in self.top_down if isinstance(stage, Group)]

    def _features(self, x: Tensor, y: Tensor | None) -> list[Tensor]:
        """What each group's posterior has of the images, (B, width, h, w)."""
        with self._network_precision(x.device):
            centred = 2 * x - 1 if y is None else 2 * x - 1 + self.images_of_classes[y]
            found = [F.pixel_unshuffle(centred, self.patch)]
            for stage in self.bottom_up:
                found.append(stage(found[-1]))
            return [group.of_image(found[1 + group.resolution]) for group in self._groups()]

    def _infer(
        self, features: list[Tensor], noise: tuple[Tensor, ...], y: Tensor | None
    ) -> tuple[tuple[Latent, ...], Tensor]:
        """The latents of each group drawn from q, and likelihood parameters (K, B, M, H, W)."""
        latents: list[Latent] = []
        groups = self._groups()

        def draw(group: int, h: Tensor, p: Normal) -> Tensor:
            q = groups[group].posterior(h, features[group], p)
            z, log_q = q.draw(noise[group])
            latents.append(Latent(z, log_q, q, p))
            return z

        params = self._descend(draw, y)
        return tuple(latents), params

    def _descend(self, draw: Draw, y: Tensor | None) -> Tensor:
        """Likelihood parameters (K, B, M, H, W), the latents of each group chosen by `draw`."""
        h, index, shape = self.constant, 0, None
        if y is not None:
            h = h + self.constants_of_classes[y]  # (B, C, h, w), of each image its own
        with self._network_precision(h.device):
            for stage in self.top_down:
                if isinstance(stage, Group):
                    p, added = stage.prior(h, shape)
                    z = draw(index, h, p)  # (K, B, D_l)
                    h = h + added
                    if h.shape[0] not in (1, z.shape[0] * z.shape[1]):
                        h = h.repeat(z.shape[0], 1, 1, 1)  # (K * B, C, h, w)
                    h, index, shape = stage.join(h, z), index + 1, z.shape[:2]
                else:
                    h = stage(h)
            return F.pixel_shuffle(self.to_params(h).float(), self.patch).unflatten(0, shape)

    def _network_precision(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16) if self.bfloat16 else nullcontext()


def _shape_in_patches(image_shape: tuple[int, int, int], patch: int) -> tuple[int, int, int]:
    """(C patch², H / patch, W / patch)."""
    check_integer("patch", patch, 1)
    channels, height, width = image_shape
    if height % patch or width % patch:
        raise ArgumentError("patch", f"must divide the sides of images of {height} x {width}, got {patch}")
    return channels * patch**2, height // patch, width // patch


def _check_counts(name: str, counts: Sequence[int], resolutions: int, last: int) -> None:
    """Raise ArgumentError unless `counts` has an integer for each resolution, the last of at least `last`."""
    is_list = isinstance(counts, list | tuple) and len(counts) == resolutions
    if not is_list or not all(type(count) is int and count >= 0 for count in counts) or counts[-1] < last:
        raise ArgumentError(
            name,
            f"must be a list of {resolutions} integers of at least 0, as many as channels, the last of at least "
            f"{last}, got {counts!r}",
        )
