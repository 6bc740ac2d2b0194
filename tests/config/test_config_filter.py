"""Section `filter`: what is on by default, and what an old file is told."""

import pytest

from taxaforge.config.filter import Filter
from taxaforge.config.settings import load


def test_by_default_only_blank_images_and_exact_copies_are_dropped():
    assert Filter().model_dump(mode="json") == {
        "min_contrast": 4.0,
        "max_clipped": 0.0,
        "near_copy": 0.0,
        "near_repeat": 0.0,
        "semantics": {"top_k": 0, "among": "all"},
        "classifier": {"top_k": 0},
    }


@pytest.mark.parametrize("old", [{"method": "semantics", "top_k": 3}, {"method": "none"}, {"top_k": 3}], ids=str)
def test_the_keys_of_earlier_versions_are_answered_with_the_new_ones(old):
    with pytest.raises(ValueError, match=r"filter: .* is now semantics\.top_k.*semantics: \{top_k: 3\}"):
        load({"filter": old})


@pytest.mark.parametrize(
    "wrong",
    [
        {"near_copy": 1.1}, {"near_repeat": -0.1}, {"max_clipped": 2}, {"min_contrast": -1}, {"classifier": {"top_k": -1}},
        {"semantics": {"top_k": 1, "among": "family"}}, {"classifier": {"topk": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_out_of_range_names_its_key(wrong):
    with pytest.raises(ValueError, match=rf"filter\.{next(iter(wrong))}"):
        load({"filter": wrong})
