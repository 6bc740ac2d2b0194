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
