"""Fréchet distances between samples and images, in the features of a classifier."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from vaelab.errors import is_out_of_memory
from vaelab.evaluation.classifier import STEPS, Classifier, trained
from vaelab.evaluation.ex_post import ex_post
from vaelab.evaluation.subject import Found, LeftOutError, Subject
from vaelab.ops import generator, unit_interval

AT_ONCE = 500
INCEPTION_AT_ONCE = 50  # images of 299 x 299 pixels
INCEPTION_FEATURES = 2048


@torch.no_grad()
def frechet_classifier_distance(subject: Subject) -> Found:
    """Fréchet distance between samples and the split's images in the features of a small classifier of our own.

    The classifier learns the labels of the training images in half a minute. It is no FID, and compares models of one
    dataset with one another only. Samples are means of p(x|z), as many as the split has images, and with their labels
    where the model takes these; images are grey where pixels are drawn.
    """
    dataset, split = subject.dataset, subject.split
    _check_images(split.images)
    if dataset.train.labels is None or (dataset.num_classes or 0) < 2:
        raise LeftOutError("needs labels to train its classifier by, which the dataset has not")
    with torch.enable_grad():
        classifier = trained(dataset, subject.seed, subject.device)
    real = _features(classifier.features, _images(subject, split.images))
    samples = _features(classifier.features, _samples(subject))
    chosen = torch.randperm(len(dataset.train.images), generator=generator(subject.seed, "training images"))
    train = _features(classifier.features, _images(subject, dataset.train.images[chosen[: len(split.images)]]))
    floor, accuracy = frechet_distance(real, train), _accuracy(classifier, real, split.labels)
    setting = (
        f"{_drawn(samples, subject)}; as many training images score {floor:.3f}; the classifier is {accuracy} "
        f"after {STEPS} steps"
    )
    return Found({"frechet_classifier_distance": frechet_distance(real, samples)}, setting=setting)


@torch.no_grad()
def frechet_inception_distance(subject: Subject, weights: Path | None) -> Found:
    """FID (Heusel et al., 2017, arXiv:1706.08500) between samples, means of p(x|z), and the split's images.

    Args:
        subject: what is measured.
        weights: the file of the Inception network as torch-fidelity has it; None where the person named none.
    """
    if weights is None:
        raise LeftOutError("needs the weights of its Inception network; name their file with --fid-weights")
    _check_images(subject.split.images)
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        network = NoTrainInceptionV3("inception-v3-compat", [str(INCEPTION_FEATURES)], str(weights)).to(subject.device)
    except ImportError as error:
        raise LeftOutError("needs the package torch-fidelity; install it with: pip install torch-fidelity") from error
    except Exception as error:  # which class it is depends on what the file holds
        if is_out_of_memory(error):
            raise
        raise LeftOutError(f"needs Inception weights as torch-fidelity has them, and {weights} has none") from error

    def features(x: Tensor) -> Tensor:
        parts = x.mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1).split(INCEPTION_AT_ONCE)
        return torch.cat([network(part) for part in parts])

    real = _features(features, _images(subject, subject.split.images))
    samples = _features(features, _samples(subject))
    return Found(
        {"fid": frechet_distance(real, samples)}, setting=f"{len(samples):,} means of p(x|z), z of {subject.sampler}"
    )


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|² + tr(S_a + S_b - 2 (S_a S_b)^½) of the means m and covariances S of features (N, F).

    The squared 2-Wasserstein distance between two normal densities (Dowson & Landau, 1982).

    Raises:
        LeftOutError: if a feature is not finite.
    """
    a, b = a.double(), b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise LeftOutError("needs images whose features are finite numbers")
    cov_a, cov_b = a.T.cov(), b.T.cov()
    # the trace of the root is the sum of the roots of the eigenvalues, which are those of a symmetric matrix
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * shared
    return max(0.0, distance.item())


def _check_images(images: Tensor) -> None:
    if len(images) < 2:
        raise LeftOutError("needs two images at least, for their covariance")


def _features(of: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> Tensor:
    return torch.cat([of(x).float().cpu() for x in images])


def _images(subject: Subject, images: Tensor) -> Iterator[Tensor]:
    return (unit_interval(part.to(subject.device)) for part in images.split(AT_ONCE))


def _samples(subject: Subject) -> Iterator[Tensor]:
    """As many samples as the split has images, of their labels where the model takes these."""
    count, labels, model = len(subject.split.images), subject.split.labels, subject.model
    if subject.sampler != "prior":
        draw = ex_post(model, lambda: subject.embedded_train, subject.sampler, subject.seed)
    for start in range(0, count, AT_ONCE):
        y = labels[start : start + AT_ONCE].long().to(subject.device) if model.takes_labels else None
        noise = generator(subject.seed, "frechet samples", start)
        size = min(AT_ONCE, count - start)
        if subject.sampler == "prior":
            yield model.sample(size, noise, y)
        else:
            yield model.likelihood.mean(model.decode(draw(size, noise).to(subject.device)))


def _drawn(samples: Tensor, subject: Subject) -> str:
    return f"{len(samples):,} means of p(x|z), z of {subject.sampler}"


def _accuracy(classifier: Classifier, features: Tensor, labels: Tensor | None) -> str:
    if labels is None:
        return "of unknown accuracy"
    right = classifier.head(features.to(classifier.head.weight.device)).argmax(1).cpu() == labels
    return f"{right.double().mean().item():.1%} right"
