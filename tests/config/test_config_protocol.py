"""Section `protocol`: what fits together."""

import pytest

from taxaforge.config.protocol import Protocol
from taxaforge.config.settings import load


@pytest.mark.parametrize("protocol, says", [
    pytest.param({"unseen": ["A a", "B b"]}, ["protocol.kind is 'few_shot'", "'zero_shot'"], id="unseen without the protocol"),
    pytest.param({"kind": "zero_shot", "unseen": ["A a"]}, ["names one species"], id="one unseen species"),
    pytest.param({"kind": "zero_shot", "unseen": ["A a", "A a"]}, ["A a more than once"], id="named twice"),
    pytest.param({"kind": "zero_shot", "unseen_share": 1.0}, ["less than 1"], id="all of them"),
    pytest.param({"kind": "zero_shot", "unseen_block": "tribe"}, ["'family'"], id="no such block"),
])  # fmt: skip
def test_protocols_that_make_no_sense_are_refused_with_the_remedy(protocol, says):
    with pytest.raises(ValueError) as error:
        load({"protocol": protocol})
    assert all(part in str(error.value) for part in says), str(error.value)


def test_named_species_are_accepted_with_the_protocol():
    assert Protocol(kind="zero_shot", unseen=["A a", "B b"]).unseen == ["A a", "B b"]


@pytest.mark.parametrize("protocol", [{"kind": "full"}, {"kind": "zero_shot", "seen": "full"}])
def test_a_draw_of_what_is_taken_whole_is_refused(protocol):
    with pytest.raises(ValueError, match=r"'full' trains on every image .* protocol\.draw to 0"):
        load({"protocol": protocol | {"draw": 1}})
    assert Protocol(**protocol).draw == 0


@pytest.mark.parametrize("section, says", [
    pytest.param({"protocol": {"draw": -1}}, "greater than or equal to 0", id="negative draw"),
    pytest.param({"protocol": {"imbalance": 0.5}}, "greater than or equal to 1", id="a tail that rises"),
    pytest.param({"evaluation": {"beside": ["./results/"]}}, "this run itself", id="a run beside itself"),
    pytest.param({"evaluation": {"beside": ["../a/results", "../a//results"]}}, "../a/results more than once", id="twice"),
])  # fmt: skip
def test_draws_and_runs_beside_that_make_no_sense_are_refused(section, says):
    with pytest.raises(ValueError, match=says):
        load(section)
