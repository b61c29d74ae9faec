"""IWAE with STL and DReG, beta-TCVAE, MMD, free bits, and the regularised autoencoder."""

import math

import torch

from vaelab.ops import log_mean_exp


class IWAE:
    """-log mean_k w_k (Burda et al., 2016, arXiv:1509.00519), `standard`, `stl` (Roeder et al., 2017, arXiv:1703.09194)
    or `dreg` (Tucker et al., 2019, arXiv:1810.04152).
    """

    is_mean_over_images = True

    def __init__(self, samples, gradient="standard"):
        self.samples, self.gradient = samples, gradient
        self.compiles = gradient != "dreg"

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        if self.gradient == "standard":
            return -log_mean_exp(trace.log_w, 0).mean(), trace, {}
        log_w = trace.log_px
        for latent in trace.latents:
            log_w = log_w + latent.log_p - latent.q.detached().log_prob(latent.z)
        if self.gradient == "dreg":
            weights = log_w.detach().softmax(0)  # (K, B); z gets w² of the gradient, of which the loss brings one w
            for latent in trace.latents:
                if latent.z.requires_grad:
                    latent.z.register_hook(lambda gradient: gradient * weights.unsqueeze(-1))
        return -log_mean_exp(log_w, 0).mean(), trace, {}


class TC:
    """beta-TCVAE (Chen et al., 2018, arXiv:1802.04942), minibatch weighted."""

    is_mean_over_images, compiles, samples = False, True, 1

    def __init__(self, train_size, beta=6.0):
        self.train_size, self.beta = train_size, beta

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        (latent,) = trace.latents
        z = latent.z[0]  # (B, D)
        each = latent.q.factors(z.unsqueeze(1))  # log q(z_i | x_j) by dimension, (B, B, D)
        count = math.log(len(x) * self.train_size)
        log_q_z = each.sum(-1).logsumexp(1) - count  # (B,)
        log_q_dims = (each.logsumexp(1) - count).sum(-1)
        information = (latent.log_q[0] - log_q_z).mean()
        correlation = (log_q_z - log_q_dims).mean()
        dimension_kl = (log_q_dims - latent.log_p[0]).mean()
        loss = information + self.beta * correlation + dimension_kl - trace.log_px.mean()
        terms = {"mutual_information": information, "total_correlation": correlation, "dimension_kl": dimension_kl}
        return loss, trace, terms


class MMD:
    """InfoVAE (Zhao et al., 2019, arXiv:1706.02262): of the two samples of noise one is the prior's."""

    is_mean_over_images, compiles, samples = False, True, 2

    def __init__(self, weight=100.0):
        self.weight = weight

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise[:1], y)
        (latent,) = trace.latents
        drawn, _ = latent.p.draw(noise[1])
        mmd = self.discrepancy(latent.z[0], drawn)
        return self.weight * mmd - trace.log_px.mean(), trace, {"mmd": mmd}

    @staticmethod
    def discrepancy(a, b):
        def kernel(a, b):
            return torch.exp(-(a.unsqueeze(1) - b).square().sum(-1) / a.shape[1])

        same = 1 - torch.eye(len(a), device=a.device)
        pairs = len(a) * (len(a) - 1)
        return (kernel(a, a) * same).sum() / pairs + (kernel(b, b) * same).sum() / pairs - 2 * kernel(a, b).mean()


class FreeBits:
    """At least so many nats of KL by dimension cost nothing (Kingma et al., 2016, arXiv:1606.04934)."""

    is_mean_over_images, compiles, samples = False, True, 1

    def __init__(self, nats=0.5):
        self.nats = nats

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        costs = [latent.kl.mean(0).clamp(min=self.nats).sum() for latent in trace.latents]
        return sum(costs) - trace.log_px.mean(), trace, {}


class RAE:
    """The regularised autoencoder with L2 (Ghosh et al., 2020, arXiv:1903.12436)."""

    is_mean_over_images, compiles, samples = True, True, 1

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        (latent,) = trace.latents
        squared = 0.5 * latent.z.square().sum(-1).mean()
        decoder = sum(parameter.square().sum() for parameter in model.decoder.parameters())
        return 1e-2 * squared + 1e-6 * decoder - trace.log_px.mean(), trace, {"squared_latent": squared}


class Autoencoding:
    """The reconstruction and the losses of the model itself, as for a VQ-VAE."""

    is_mean_over_images, compiles, samples = True, True, 1

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        return sum(trace.losses.values()) - trace.log_px.mean(), trace, {}
