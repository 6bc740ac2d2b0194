"""Branches and weights, on a backbone that says what it was asked."""

import pytest
import torch

from taxaforge.guidance.terms import Branch, conditional, contrast, during, guided

A, B = torch.full((3, 2, 4), 1.0), torch.full((3, 2, 4), 10.0)
Z, T = torch.zeros(3, 1, 2, 2), torch.tensor(500)


class Echo:
    """Predicts the mean of each image's tokens; counts the images it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, z, t, tokens):
        assert len(z) == len(tokens)
        self.asked.append(len(z))
        return z + tokens.mean((1, 2)).view(-1, 1, 1, 1)


def answer(term, u=0.0):
    echo = Echo()
    return guided(echo, term)(Z, T, u, torch.arange(3))[:, 0, 0, 0].tolist(), echo.asked


def test_two_branches_are_weighed_in_one_call():
    assert answer(contrast(A, B, torch.tensor([2.0, 0.5, 3.0]))) == ([-8.0, 5.5, -17.0], [6])


def test_scale_1_is_the_condition_alone_at_half_the_cost():
    assert answer(contrast(A, B, torch.ones(3))) == answer(conditional(A)) == ([1.0, 1.0, 1.0], [3])


def test_scale_0_is_the_reference_alone():
    assert answer(contrast(A, B, torch.zeros(3))) == ([10.0, 10.0, 10.0], [3])


def test_an_image_at_scale_1_does_not_silence_its_neighbours():
    assert answer(contrast(A, B, torch.tensor([1.0, 2.0, 1.0]))) == ([1.0, -8.0, 1.0], [6])


def test_a_branch_of_weight_0_costs_nothing_and_changes_nothing():
    with_idle = [*contrast(A, B, torch.full((3,), 2.0))(0.0), Branch(A * 100, torch.zeros(3))]
    assert answer(lambda u: with_idle) == answer(contrast(A, B, torch.full((3,), 2.0)))


def test_three_branches_telescope():
    """eps(c0) + s (eps(c1) - eps(c0)) + s (eps(c2) - eps(c1)) = contrast(c2, c0, s)."""
    s, between = torch.tensor([2.0, 1.5, 3.0]), torch.full((3, 2, 4), 5.0)
    telescope = [Branch(B, 1 - s), Branch(between, s), Branch(between, -s), Branch(A, s)]
    assert answer(lambda u: telescope)[0] == pytest.approx(answer(contrast(A, B, s))[0])


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param([[1.0, 1.0, 1.0], [0.0, 0.1, 0.0]], id="one image is off"),
        pytest.param([[2.0, 2.0, 2.0], [-1.0, -1.0, -0.999]], id="by a thousandth"),
        pytest.param([[1.0, float("nan"), 1.0], [0.0, 0.0, 0.0]], id="not a number"),
        pytest.param([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], id="nothing counts"),
    ],
)
def test_weights_that_do_not_sum_to_1_are_refused(weights):
    branches = [Branch(A, torch.tensor(weights[0])), Branch(B, torch.tensor(weights[1]))]
    with pytest.raises(ValueError, match="sum to"):
        answer(lambda u: branches)


def test_a_strong_scale_is_not_refused_for_its_rounding():
    answer(contrast(A, B, torch.full((3,), 1000.3)))


@pytest.mark.parametrize(
    ("steps", "first", "last", "inside"),
    [
        pytest.param(30, 0.0, 0.7, range(21), id="as a stock pipeline's control_guidance_end"),
        pytest.param(50, 0.58, 1.0, range(29, 50), id="0.58 * 50 is 28.999.. in floating point"),
        pytest.param(10, 0.2, 0.8, range(2, 8), id="both ends"),
        pytest.param(4, 0.0, 1.0, range(4), id="always"),
    ],
)
def test_an_interval_is_the_same_steps_everywhere(steps, first, last, inside):
    term = during(first, last, conditional(A), conditional(B))
    assert [i for i in range(steps) if answer(term, i / steps)[0][0] == 1.0] == list(inside)
