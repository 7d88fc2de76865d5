"""The distribution of the noise, and that it cannot be drawn again."""

from __future__ import annotations

import os
from unittest.mock import patch

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy import stats

from fl_liver.client.gaussian import normals, uniforms

UNLIKELY = 1e-6
"""A right generator fails a test once in a million runs."""


def test_normals_are_standard_normal() -> None:
    assert stats.kstest(normals(200_000), "norm").pvalue > UNLIKELY


def test_normals_have_variance_one() -> None:
    """To about a hundredth: σ is what ε rests on."""
    square = float((normals(1_000_000) ** 2).sum())
    assert min(stats.chi2(1_000_000).cdf(square), stats.chi2(1_000_000).sf(square)) > UNLIKELY


def test_normals_have_the_tails_of_a_normal() -> None:
    """Kolmogorov and Smirnov look at the middle; beyond 3 there are 0.27 % of the numbers."""
    beyond = int((np.abs(normals(400_000)) > 3).sum())
    assert stats.binomtest(beyond, 400_000, 2 * stats.norm.sf(3)).pvalue > UNLIKELY


def test_the_two_normals_of_one_pair_are_independent() -> None:
    cosine, sine = normals(200_000).reshape(2, -1)
    for one, two in ((cosine, sine), (cosine**2, sine**2)):
        assert stats.pearsonr(one, two).pvalue > UNLIKELY


def test_uniforms_are_uniform_and_never_zero() -> None:
    drawn = uniforms(200_000)
    assert stats.kstest(drawn, "uniform").pvalue > UNLIKELY
    with patch.object(Cipher, "encryptor") as cipher:
        cipher().update.return_value = bytes(8) + b"\xff" * 8
        assert uniforms(2).tolist() == [2.0**-53, 1.0]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_as_asked(count: int) -> None:
    assert normals(count).shape == uniforms(count).shape == (count,)


def test_every_call_has_a_key_of_its_own_from_the_operating_system() -> None:
    keys: list[bytes] = []

    def remember(count: int) -> bytes:
        keys.append(os.getrandom(count))
        return keys[-1]

    with patch("fl_liver.client.gaussian.os.urandom", remember):
        first, second = uniforms(3), uniforms(3)
    assert [len(key) for key in keys] == [32, 32]
    assert not np.array_equal(first, second)
    for key, drawn in zip(keys, (first, second), strict=True):
        stream = Cipher(ChaCha20(key, bytes(16)), None).encryptor().update(bytes(24))
        top = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") >> 11 for i in range(3)]
        assert drawn.tolist() == [(one + 1) / 2**53 for one in top]


def test_a_seed_of_numpy_changes_nothing() -> None:
    np.random.seed(1)
    one = normals(4)
    np.random.seed(1)
    assert not np.array_equal(one, normals(4))
