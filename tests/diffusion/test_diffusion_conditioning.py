"""The summed level modules: against a loop written out by hand."""

import pytest
import torch

from taxaforge.diffusion.backbone import load
from taxaforge.diffusion.conditioning import Conditioning, level_module, picked
from taxaforge.diffusion.lineages import strings_of
from taxaforge.diffusion.texts import idle_levels


@pytest.fixture
def modules(lineages) -> Conditioning:
    torch.manual_seed(0)
    return Conditioning(lineages.levels, lineages.width).eval()


def test_a_finer_condition_is_the_coarser_one_plus_the_level_in_between(modules, lineages):
    rows = lineages.index
    with torch.no_grad():
        c = [modules(lineages.tokens, rows, torch.full((3,), level)) for level in range(3)]
        for level in (1, 2):
            added = modules.encoders[level](lineages.tokens[rows[:, level]])
            assert (c[level] - c[level - 1] - added).abs().max() < 1e-5


def test_a_batch_of_mixed_levels_equals_a_loop_over_its_items(modules, lineages):
    rows, upto = lineages.index[[0, 2, 1, 0, 2]], torch.tensor([2, 0, 1, 1, 2])
    with torch.no_grad():
        batch = modules(lineages.tokens, rows, upto)
        for item in range(5):
            alone = sum(modules.encoders[i](lineages.tokens[rows[item, i]][None]) for i in range(int(upto[item]) + 1))
            assert (batch[item] - alone[0]).abs().max() < 1e-5


def test_levels_finer_than_the_whole_batch_get_no_gradient_that_weight_decay_could_ride_on(modules, lineages):
    modules.train()
    modules(lineages.tokens, lineages.index, torch.tensor([0, 1, 0])).square().sum().backward()
    assert all(p.grad is None for p in modules.encoders[2].parameters())
    assert all(p.grad is not None for p in modules.encoders[1].parameters())


def test_a_level_has_the_published_size_at_stable_diffusion_width():
    with torch.device("meta"):
        module = level_module(768)
    assert sum(p.numel() for p in module.parameters()) == 11_027_968
    assert not module.layers[0].norm_first and module.layers[0].dropout.p == 0.1


def test_unknown_and_null_are_two_texts_and_a_missing_rank_reads_unknown(modules, lineages):
    assert lineages.strings[lineages.unknown[1]] == "genus: unknown"
    assert lineages.strings[lineages.null[1]] == "genus: None"
    assert lineages.index[2, 1] == lineages.unknown[1]
    two = torch.stack([lineages.unknown, lineages.null])
    with torch.no_grad():
        a, b = modules(lineages.tokens, two, torch.tensor([2, 2]))
    assert (a - b).abs().max() > 0.1


def test_behind_a_zero_gate_a_fresh_level_changes_nothing_and_can_open(lineages):
    torch.manual_seed(0)
    gated = Conditioning(lineages.levels, lineages.width, zero_gate=True).eval()
    c = [gated(lineages.tokens, lineages.index, torch.full((3,), level)) for level in range(3)]
    assert torch.equal(c[1], c[0]) and torch.equal(c[2], c[0])
    c[2].square().sum().backward()
    assert all(gate.grad is not None and gate.grad != 0 for gate in gated.gates)


def test_a_part_of_a_batch_has_the_dropout_of_the_whole(lineages):
    torch.manual_seed(0)
    modules = Conditioning(lineages.levels, lineages.width).train()
    rows, upto = lineages.index[[0, 2, 1, 0, 2]], torch.tensor([2, 0, 1, 1, 2])
    parts = []
    for mine in (None, torch.tensor([3, 1])):
        torch.manual_seed(7)
        parts.append(modules(lineages.tokens, rows, upto, mine))
    assert torch.equal(parts[0][[3, 1]], parts[1])


def test_a_level_that_lost_its_name_reads_null_there_alone(stages, files, lineages):
    backbone = load(stages["species"], texts=files["texts"])
    dropped = torch.tensor([[False, True, False], [False, False, False]])
    tokens = backbone.tokens(torch.tensor([0, 0]), torch.tensor([2, 2]), None, dropped)
    rows = lineages.index[[0, 0]].clone()
    rows[0, 1] = lineages.null[1]
    assert torch.equal(tokens, backbone.conditioning(lineages.tokens, rows, torch.tensor([2, 2])))
    assert (tokens[0] - tokens[1]).abs().max() > 0.01


def test_a_level_on_which_nothing_differs_is_named(classes):
    alike = [{**record, "family": "One"} for record in classes]
    assert idle_levels(alike, ["order", "family", "species"]) == ["family"]
    assert idle_levels(alike, ["family", "species"]) == []  # as the root it stands for what is common to all
    assert idle_levels(alike[:1], ["order", "family"]) == []


def test_all_seven_ranks_make_levels_and_missing_names_are_unknown(classes):
    ranks = ["kingdom", "phylum", "class", "order", "family", "genus", "species"]
    strings, rows = strings_of(classes, ranks)
    assert [strings[row] for row in rows["index"][2]] == [
        "kingdom: unknown", "phylum: unknown", "class: unknown", "order: Coleoptera", "family: unknown",
        "genus: unknown", "species: Lucanus cervus",
    ]  # fmt: skip


def test_the_gradient_of_shared_rows_is_the_same_every_time_on_several_threads():
    draw = torch.Generator().manual_seed(0)
    table, weight = (torch.randn(n, 16, 64, generator=draw) for n in (12, 512))
    rows = torch.randint(0, 12, (512,), generator=draw)

    def gradient():
        leaf = table.clone().requires_grad_()
        found = picked(leaf, rows)
        assert torch.equal(found, table[rows])
        (found * weight).sum().backward()
        return leaf.grad

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert torch.allclose(first, torch.zeros_like(table).index_add(0, rows, weight), atol=1e-4)
        assert all(torch.equal(gradient(), first) for _ in range(20))
    finally:
        torch.set_num_threads(threads)
