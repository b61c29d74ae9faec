"""How far each known factor of the images has a latent of its own: MIG, DCI and SAP.

Definitions follow the papers; bins and trees are as in the study of Locatello et al., 2019 (arXiv:1811.12359). Shapes:
N images, D latents, F factors.
"""

import numpy as np
import torch
from torch import Tensor

from vaelab.dataset.images import Factor
from vaelab.evaluation.subject import Found, LeftOutError, Subject, check_finite

BINS = 20
TREES = 20
DEPTH = 10  # deeper trees split on what tells nothing, and so find every latent important
MOST_FITTED = 5000  # images that trees, lines and classifiers are fitted to


def disentanglement(subject: Subject) -> Found:
    """MIG of the split's images; DCI and SAP of what is fitted to images trained on and scored on the split."""
    train, test, named = subject.dataset.train, subject.split, subject.dataset.factors
    if not named or train.factors is None or test.factors is None:
        raise LeftOutError("needs a dataset whose factors are known, such as sprites")
    some = slice(MOST_FITTED)
    _check_values(named, train.factors[some], test.factors)
    check_finite(subject.embedded_train, subject.embedded)
    gaps = mutual_information_gaps(subject.embedded, test.factors)
    fitted = subject.embedded_train[some], train.factors[some]
    scored = subject.embedded, test.factors
    dci = dci_scores(*fitted, *scored, subject.seed)
    sap = separated_predictability(*fitted, *scored, named)
    metrics = {"mig": gaps.mean().item(), **dci, "sap": sap.mean().item()}
    lists = {"mig_by_factor": gaps.tolist(), "sap_by_factor": sap.tolist()}
    setting = f"factors {', '.join(factor.name for factor in named)}; {BINS} bins, {TREES} trees of depth {DEPTH}"
    return Found(metrics, lists=lists, setting=setting)


def _check_values(named: tuple[Factor, ...], *splits: Tensor) -> None:
    for factors in splits:
        constant = [
            factor.name for factor, values in zip(named, factors.unbind(1), strict=True) if len(values.unique()) < 2
        ]
        if constant:
            raise LeftOutError(
                f"needs images with two values at least of each factor, got one of {', '.join(constant)}"
            )


def mutual_information_gaps(z: Tensor, factors: Tensor) -> Tensor:
    """(I(z_first; v) - I(z_second; v)) / H(v) of each factor v, the two latents that know most of it, (F,) in [0, 1].

    Chen et al., 2018 (arXiv:1802.04942); z (N, D) in 20 bins of equal width, and factors (N, F).
    """
    lowest, highest = z.amin(0), z.amax(0)
    bins = ((z - lowest) / (highest - lowest).clamp(min=1e-12) * BINS).long().clamp(max=BINS - 1)
    gaps = []
    for factor in factors.long().unbind(1):
        values = int(factor.max()) + 1
        joints = [torch.bincount(code * values + factor, minlength=BINS * values).double() for code in bins.unbind(1)]
        known = torch.stack([_mutual_information(joint.view(BINS, values) / len(z)) for joint in joints])
        entropy = torch.special.entr(torch.bincount(factor).double() / len(z)).sum()
        gaps.append(_gap(known) / entropy)
    return torch.stack(gaps)


def _mutual_information(joint: Tensor) -> Tensor:
    """I = H(a) + H(b) - H(a, b) in nats, of probabilities (A, B)."""
    entropies = (torch.special.entr(part).sum() for part in (joint.sum(1), joint.sum(0), joint))
    first, second, both = entropies
    return first + second - both


def _gap(scores: Tensor) -> Tensor:
    """By how much the best of some scores is ahead of the second, which is 0 where there is none."""
    best = torch.cat([scores, scores.new_zeros(1)]).topk(2).values
    return best[0] - best[1]


def dci_scores(z: Tensor, factors: Tensor, test_z: Tensor, test_factors: Tensor, seed: int) -> dict[str, float]:
    """Disentanglement, completeness and informativeness, in [0, 1] (Eastwood & Williams, 2018).

    With R (D, F) the importance of each latent to a forest that predicts a factor: disentanglement is one less the
    entropy of a latent's row, weighted by the row's sum; completeness one less the entropy of a factor's column, and
    informativeness the accuracy of the forests on the test images, means over the factors.
    """
    from sklearn.ensemble import RandomForestClassifier  # takes a second to import

    importance, accuracy = [], []
    for factor, test_factor in zip(factors.T.numpy(), test_factors.T.numpy(), strict=True):
        forest = RandomForestClassifier(TREES, max_depth=DEPTH, max_features=None, random_state=seed % 2**32)
        forest.fit(z.numpy(), factor)
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(test_z.numpy(), test_factor))
    relevance = torch.from_numpy(np.stack(importance, 1))  # (D, F)
    weights = relevance.sum(1) / relevance.sum().clamp(min=1e-12)
    return {
        "dci_disentanglement": (weights * _concentration(relevance)).sum().item(),
        "dci_completeness": _concentration(relevance.T).mean().item(),
        "dci_informativeness": float(np.mean(accuracy)),
    }


def _concentration(rows: Tensor) -> Tensor:
    """One less the entropy of each row (A, B) to the base B: 1 where one has all, 0 where all are equal, or 0."""
    if rows.shape[1] < 2:
        return rows.new_ones(len(rows))
    total = rows.sum(1, keepdim=True)
    shares = torch.where(total > 0, rows / total, 1 / rows.shape[1])
    return 1 - torch.special.entr(shares).sum(1) / np.log(rows.shape[1])


def separated_predictability(
    z: Tensor, factors: Tensor, test_z: Tensor, test_factors: Tensor, named: tuple[Factor, ...]
) -> Tensor:
    """By how much the latent that predicts a factor best is ahead of the second, (F,) in [0, 1].

    Kumar et al., 2018 (arXiv:1711.00848): of an ordered factor the score of a latent is the share of variance that a
    line explains, of any other the balanced accuracy of a linear classifier, from chance at 0 to 1; both of the test
    images.
    """
    mean, std = z.mean(0), z.std(0).clamp(min=1e-6)
    z, test_z = ((each - mean).div(std).double() for each in (z, test_z))
    gaps = []
    for factor, test_factor, known in zip(factors.unbind(1), test_factors.unbind(1), named, strict=True):
        score = _explained if known.ordered else _told
        gaps.append(_gap(score(z, factor, test_z, test_factor)))
    return torch.stack(gaps)


def _explained(z: Tensor, factor: Tensor, test_z: Tensor, test_factor: Tensor) -> Tensor:
    """R² on test images of a line from each centred latent (N, D) to the factor (N,), or 0, (D,)."""
    factor, test_factor = factor.double(), test_factor.double()
    slopes = (z * (factor - factor.mean())[:, None]).mean(0) / z.square().mean(0).clamp(min=1e-12)
    left = test_factor[:, None] - factor.mean() - slopes * test_z
    return (1 - left.square().mean(0) / test_factor.var(correction=0)).clamp(min=0)


def _told(z: Tensor, factor: Tensor, test_z: Tensor, test_factor: Tensor) -> Tensor:
    """Balanced accuracy on test images of a logistic regression from each latent (N, D), without chance, (D,)."""
    from sklearn.linear_model import LogisticRegression

    scores, values = [], test_factor.unique()
    for column, test_column in zip(z.T.numpy(), test_z.T.numpy(), strict=True):
        classifier = LogisticRegression(class_weight="balanced").fit(column[:, None], factor)
        right = torch.from_numpy(classifier.predict(test_column[:, None])) == test_factor
        scores.append(torch.stack([right[test_factor == value].double().mean() for value in values]).mean())
    return ((torch.stack(scores) - 1 / len(values)) / (1 - 1 / len(values))).clamp(min=0)
