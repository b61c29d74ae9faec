"""MIG, DCI and SAP of codes that are the factors, that are noise, and that mix them."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.subjects import split_of, subject_of, transparent_vae
from vaelab.dataset.images import Factor
from vaelab.evaluation.disentanglement import (
    dci_scores,
    disentanglement,
    mutual_information_gaps,
    separated_predictability,
)
from vaelab.evaluation.subject import LeftOutError

FACTORS = (Factor("shape", 3, ordered=False), Factor("x", 6), Factor("y", 5))
COUNT = 1500
VALUES = torch.stack(
    [torch.randint(f.count, (COUNT,), generator=torch.Generator().manual_seed(i)) for i, f in enumerate(FACTORS)], 1
)
CODES = VALUES[:, [2, 0, 1]].float() * torch.tensor([-3.0, 1.0, 0.1])  # which latent, its sign and scale do not matter
NOISE = normals(COUNT, 4)


def scores(z):
    dci = dci_scores(z, VALUES, z, VALUES, seed=0)
    gaps, sap = mutual_information_gaps(z, VALUES), separated_predictability(z, VALUES, z, VALUES, FACTORS)
    return {"mig": gaps.mean().item(), "sap": sap.mean().item(), **dci}


def test_codes_that_are_the_factors_are_perfect():
    found = scores(torch.cat([CODES, 0.01 * NOISE[:, :1]], 1))
    assert found["mig"] == pytest.approx(1, abs=0.05)
    assert found["sap"] > 0.7  # an unordered factor is told by a linear classifier of one number
    assert separated_predictability(CODES, VALUES, CODES, VALUES, FACTORS)[1:].tolist() == pytest.approx(
        [1, 1], abs=0.02
    )
    assert found["dci_disentanglement"] > 0.95
    assert found["dci_completeness"] > 0.95
    assert found["dci_informativeness"] == 1
    assert max(found.values()) <= 1 + 1e-9


def test_codes_of_noise_have_nothing():
    found = scores(NOISE)
    assert found["mig"] < 0.02
    assert found["sap"] < 0.05
    assert (
        separated_predictability(NOISE[:, :1], VALUES, NOISE[:, :1], VALUES, FACTORS).max() < 0.1
    )  # there is no second one
    assert found["dci_disentanglement"] < 0.1
    assert found["dci_completeness"] < 0.1
    other = dci_scores(NOISE, VALUES, normals(COUNT, 4, seed=1), VALUES, seed=0)
    assert other["dci_informativeness"] == pytest.approx((1 / 3 + 1 / 6 + 1 / 5) / 3, abs=0.04)  # chance


def test_sap_and_dci_are_scored_on_other_images_than_they_are_fitted_to():
    perfect, noise = (split_of(z, factors=VALUES) for z in (CODES, NOISE[:, :3]))
    for train, test in ((perfect, noise), (noise, perfect)):
        found = disentanglement(subject_of(transparent_vae(3), test, train, factors=FACTORS)).metrics
        assert found["sap"] < 0.3  # the classifier of a latent of noise may happen to tell a value or two
        assert found["dci_informativeness"] < 0.4
    found = disentanglement(subject_of(transparent_vae(3), perfect, perfect, factors=FACTORS)).metrics
    assert found["sap"] > 0.7
    assert found["dci_informativeness"] == 1


def test_a_second_latent_of_the_same_factor_closes_the_gap_but_not_the_disentanglement():
    twice = scores(torch.cat([CODES, -CODES], 1))
    assert twice["mig"] == pytest.approx(0, abs=1e-9)
    assert twice["sap"] == pytest.approx(0, abs=0.01)
    assert twice["dci_disentanglement"] > 0.95
    assert twice["dci_completeness"] < 0.8


def test_a_rotation_is_less_disentangled_and_as_informative():
    turned = (CODES / CODES.std(0)) @ torch.linalg.qr(normals(3, 3)).Q
    found = scores(turned)
    assert found["mig"] < 0.3
    assert found["dci_disentanglement"] < 0.7
    assert found["dci_informativeness"] > 0.9


def test_a_model_is_measured_by_its_embeddings():
    split = split_of(CODES, factors=VALUES)
    found = disentanglement(subject_of(transparent_vae(3), split, factors=FACTORS))
    assert found.metrics["mig"] == pytest.approx(mutual_information_gaps(CODES, VALUES).mean().item(), abs=1e-6)
    assert len(found.lists["sap_by_factor"]) == 3
    assert "shape, x, y" in found.setting
    with pytest.raises(LeftOutError, match="factors are known, such as sprites"):
        disentanglement(subject_of(transparent_vae(3), split_of(CODES)))


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("few_to_train", [False, True])
def test_few_images_in_which_a_factor_does_not_vary_are_left_out(images, few_to_train):
    values = VALUES[:images].clone()
    values[:, 1] = 2
    whole, few = split_of(CODES, factors=VALUES), split_of(CODES[:images], factors=values)
    test, train = (whole, few) if few_to_train else (few, whole)
    with pytest.raises(LeftOutError, match=r"two values at least of each factor, got one of (shape, x, y|x$)"):
        disentanglement(subject_of(transparent_vae(3), test, train, factors=FACTORS))


def test_latents_that_never_change_have_nothing_and_those_that_are_no_numbers_are_left_out():
    assert scores(torch.zeros(COUNT, 4)) == pytest.approx(
        {"mig": 0, "sap": 0, "dci_disentanglement": 0, "dci_completeness": 0, "dci_informativeness": 0.25}, abs=0.05
    )
    with pytest.raises(LeftOutError, match="finite"):
        split = split_of(CODES, factors=VALUES)
        disentanglement(subject_of(transparent_vae(3, scale=math.nan), split, factors=FACTORS))
