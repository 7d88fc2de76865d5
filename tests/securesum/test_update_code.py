"""Model updates in fixed point: as exact as they say, never out of range, clipped; what is not finite stays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, ProtocolError, TrainingError
from fl_liver.parameters import Entry, Layout
from fl_liver.securesum.encoding import LOSS_RANGE, RUNNING_RANGE, UpdateCode, check_words
from fl_liver.study import Study
from fl_liver.update_code import update_code

Vector = NDArray[np.float32]
CODE = UpdateCode(running=((3, 5), (7, 8)), size=9, sites=4, max_weight=100, clip=2.0)
PARAMETERS, RUNNING = [0, 1, 2, 5, 6, 8], [3, 4, 7]
START = np.linspace(-1, 1, 9, dtype=np.float32)


def added(code: UpdateCode, updates: list[tuple[Vector, int, float]], start: Vector) -> NDArray[np.uint32]:
    total = np.zeros(code.length + check_words(32), np.uint32)
    for local, weight, loss in updates:
        total += code.encode(local, start, weight, loss)[0]
    return total


def moved(*steps: tuple[int, float]) -> Vector:
    local = START.copy()
    for place, by in steps:
        local[place] += np.float32(by)
    return local


@settings(max_examples=150)
@given(st.integers(3, 50), st.integers(1, 2000), st.sampled_from([0.5, 2.0, 20.0]), st.integers(0, 2**32 - 1))
def test_a_total_is_within_a_step_a_hospital_of_the_true_weighted_sum(
    sites: int, max_weight: int, clip: float, seed: int
) -> None:
    """The oracle is float64. On top of half a step a hospital stands the float32 of the values themselves."""
    draw = np.random.default_rng(seed)
    code = UpdateCode(CODE.running, 9, sites, max_weight, clip)
    start = draw.normal(size=9).astype(np.float32)
    start[RUNNING] = draw.uniform(0, 1000, 3)
    updates, weights, losses = [], draw.integers(1, max_weight + 1, sites), draw.uniform(0, 10, sites)
    for weight, loss in zip(weights, losses, strict=True):
        local = start + draw.normal(scale=clip / 10, size=9).astype(np.float32)
        local[RUNNING] = draw.uniform(-RUNNING_RANGE, RUNNING_RANGE, 3)
        assert code.encode(local, start, int(weight), float(loss))[1] == 1
        updates.append((local, int(weight), float(loss)))
    mean, loss = code.decode(added(code, updates, start), start, sites)
    locals_ = np.array([local for local, *_ in updates], np.float64)
    wanted = (weights[:, None] * locals_).sum(0) / weights.sum()
    rounding = sites / 2 * code.step / weights.sum()
    np.testing.assert_allclose(mean[PARAMETERS], wanted[PARAMETERS], rtol=0, atol=rounding + 8 * 2.0**-24 * (4 + clip))
    coarse = rounding * RUNNING_RANGE / clip * 2
    np.testing.assert_allclose(mean[RUNNING], wanted[RUNNING], rtol=0, atol=coarse + 4 * 2.0**-24 * RUNNING_RANGE)
    assert loss == pytest.approx((weights * losses).sum() / weights.sum(), abs=rounding * LOSS_RANGE / clip * 2 + 1e-9)


@pytest.mark.parametrize("sites", [3, 4, 7, 13, 31])
@pytest.mark.parametrize(("max_weight", "clip"), [(1, 0.001), (1, 20.0), (3, 7.3), (1000, 20.0), (4096, 2.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_hospital_at_every_edge_at_once_does_not_wrap(
    sites: int, max_weight: int, clip: float, sign: int
) -> None:
    """n hospitals of the greatest weight, with all of the clip in one coordinate, running statistics and loss at their
    ends: as Python's integers the sum stays inside int32, and the mean is what it must be.
    """
    code = UpdateCode(CODE.running, 9, sites, max_weight, clip)
    start = np.zeros(9, np.float32)
    local = start.copy()
    local[0] = sign * clip * 50
    local[RUNNING] = sign * RUNNING_RANGE
    coded, factor = code.encode(local, start, max_weight, sign * 1e9)
    signed = coded[:-3].view(np.int32).astype(object) * sites
    assert int(max(map(abs, signed))) < 2**31
    assert coded[code.size].item() * sites < 2**32
    assert abs(int(coded[code.size + 1 : code.size + 2].view(np.int32)[0]) * sites) < 2**31
    assert factor == pytest.approx(1 / 50, rel=1e-4)
    total = (coded.astype(object) * sites % 2**32).astype(np.uint32)
    mean, loss = code.decode(total, start, sites)
    assert mean[0] == pytest.approx(sign * clip, rel=2e-6, abs=code.step)
    assert mean[RUNNING].tolist() == [sign * RUNNING_RANGE] * 3
    assert loss == sign * LOSS_RANGE


@given(st.integers(3, 10_000), st.integers(1, 100_000), st.floats(1e-3, 1e3))
def test_the_shift_is_the_largest_that_cannot_wrap(sites: int, max_weight: int, clip: float) -> None:
    try:
        code = UpdateCode((), 1, sites, max_weight, clip)
    except ConfigError:
        return
    assert sites * (max_weight * clip / code.step + 1) < 2**31
    assert sites * (max_weight * clip / code.step * 2 + 1) >= 2**31 * (1 - 1e-9)


def test_an_update_is_clipped_to_the_norm_of_all_its_parameters_and_no_further() -> None:
    long = moved((0, 3.0), (8, -4.0))
    coded, factor = CODE.encode(long, START, 10, 0.0)
    assert factor == pytest.approx(2.0 / 5.0, rel=1e-5)
    mean, _ = CODE.decode(coded, START, 1)
    difference = (mean - START)[PARAMETERS]
    assert np.linalg.norm(difference) == pytest.approx(2.0, rel=1e-5)
    assert difference[0] == pytest.approx(1.2, rel=1e-5)
    assert difference[-1] == pytest.approx(-1.6, rel=1e-5)
    for local in (START, moved((0, 1.2), (8, -1.5))):
        assert CODE.encode(local, START, 10, 0.0)[1] == 1


def test_running_statistics_are_sent_as_they_are_and_do_not_count_to_the_norm() -> None:
    local = moved((3, 900.0), (7, -700.0))
    coded, factor = CODE.encode(local, START, 7, 0.0)
    assert factor == 1
    np.testing.assert_allclose(CODE.decode(coded, START, 1)[0][RUNNING], local[RUNNING], atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("place", [0, 3, 8])
def test_a_value_that_is_not_finite_or_out_of_range_is_refused(value: float, place: int) -> None:
    local = START.copy()
    local[place] = value
    with pytest.raises(TrainingError, match=r"not finite; nothing is sent|a running statistic .* wanted at most 1024"):
        CODE.encode(local, START, 5, 0.1)


@pytest.mark.parametrize("value", [1024.001, -1025.0])
def test_a_running_statistic_beyond_1024_is_refused_and_1024_is_not(value: float) -> None:
    local = START.copy()
    local[4] = math.copysign(RUNNING_RANGE, value)
    CODE.encode(local, START, 5, 0.1)
    local[4] = value
    with pytest.raises(TrainingError, match="a running statistic of batch normalisation is 102"):
        CODE.encode(local, START, 5, 0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused(loss: float) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite"):
        CODE.encode(START, START, 5, loss)


@pytest.mark.parametrize("weight", [0, -1, 101])
def test_a_weight_outside_of_1_to_max_weight_is_refused(weight: int) -> None:
    with pytest.raises(ProtocolError, match=f"with weight {weight}, wanted .* a weight of 1 to 100"):
        CODE.encode(START, START, weight, 0.1)


@pytest.mark.parametrize("local", [START[:-1], np.append(START, START[:1]), START.reshape(3, 3)])
def test_vectors_of_another_length_are_refused(local: Vector) -> None:
    for pair in ((local, START), (START, local)):
        with pytest.raises(ProtocolError, match=r"wanted \(9,\)"):
            CODE.encode(*pair, 5, 0.1)


def test_weight_and_loss_are_in_the_sum_and_the_mean_is_weighted() -> None:
    mean, loss = CODE.decode(added(CODE, [(moved((0, 1.0)), 90, 1.0), (START, 10, 2.0)], START), START, 2)
    assert mean[0] - START[0] == pytest.approx(0.9, abs=1e-5)
    assert loss == pytest.approx(1.1, abs=1e-4)
    told = CODE.decode(CODE.encode(START, START, 5, 1e6)[0], START, 1)[1]
    assert told == LOSS_RANGE


def test_a_total_with_an_impossible_weight_or_wrong_check_words_is_refused() -> None:
    total = added(CODE, [(START, 90, 1.0), (START, 10, 2.0)], START)
    for weight in (0, 1, 201, 2**31):
        changed = total.copy()
        changed[CODE.size] = weight
        with pytest.raises(ProtocolError, match=f"a total weight of {weight} over 2 hospitals of 1 to 100 each"):
            CODE.decode(changed, START, 2)
    with pytest.raises(ProtocolError, match="the masks of 3 hospitals did not cancel"):
        CODE.decode(total, START, 3)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"sites": 13, "max_weight": 10_000, "clip": 4000.0}, "update_norm"),
        ({"sites": 50, "max_weight": 4_000, "clip": 1.0}, "running statistics"),
    ],
)
def test_a_code_that_leaves_fewer_than_4_bits_is_refused(keys: dict[str, float], what: str) -> None:
    with pytest.raises(ConfigError, match=rf"\({what}\) leave fewer than 4 bits behind the point"):
        UpdateCode((), 1, int(keys["sites"]), int(keys["max_weight"]), keys["clip"])
    edge = UpdateCode((), 1, 4, 1, 2.0**25 - 2.0**4)
    assert edge.step == 2.0**-4


def test_the_running_statistics_of_a_layout_are_found_and_joined(table_study: Study) -> None:
    names = [
        "conv.weight",
        "bn.running_mean",
        "bn.running_var",
        "bn.bias",
        "head.running_mean_scale",
        "bn2.running_var",
    ]
    layout = Layout(tuple(Entry(name, (size,)) for name, size in zip(names, (4, 2, 2, 1, 3, 5), strict=True)))
    code = update_code(table_study, layout)
    assert code.running == ((4, 8), (12, 17))
    assert (code.size, code.sites, code.length) == (17, len(table_study.sites.train), 19)
    assert (code.max_weight, code.clip) == (table_study.training.max_weight, table_study.training.update_norm)


def test_long_vectors_are_encoded_like_short_ones() -> None:
    """Blocks of 2^15 on either side of running statistics: as one float64 computation has it."""
    draw = np.random.default_rng(5)
    size = 3 * 2**15 + 11
    code = UpdateCode(((40_000, 40_010), (size - 5, size)), size, 3, 10, 5.0)
    start = draw.normal(size=size).astype(np.float32)
    local = start + draw.normal(scale=1e-3, size=size).astype(np.float32)
    mean, _ = code.decode(code.encode(local, start, 10, 0.5)[0], start, 1)
    np.testing.assert_allclose(mean, local, atol=RUNNING_RANGE / 2**20)
    parameters = np.r_[0:40_000, 40_010 : size - 5]
    np.testing.assert_allclose(mean[parameters], local[parameters], atol=code.step + 2.0**-22)
