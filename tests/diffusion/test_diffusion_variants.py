"""Which modules and which part of the denoiser each stage of each variant trains."""

import pytest

from taxaforge.diffusion.variants import BadStage, learned, recipe

LEVELS = ["order", "genus", "species"]


def plan(stage: str, **changes):
    cfg = {"levels": LEVELS, "variant": "progressive", "trainable": "published", "backbone": "small", **changes}
    return recipe(stage, cfg), learned(stage, cfg)


def test_progressive_stages_train_one_module_each_and_adapters_first():
    for number, stage in enumerate(LEVELS):
        one, known = plan(stage)
        assert one.modules == (number,) and one.finest == number and known == number + 1
        assert one.denoiser == ("lora" if number == 0 else "frozen")
        assert one.share == tuple(float(i == number) for i in range(3))
        assert one.before == (["base", *LEVELS][number],)


@pytest.mark.parametrize("variant, share", [("random_level", (1 / 3, 1 / 3, 1 / 3)), ("joint", (0.0, 0.0, 1.0))])
def test_variants_of_one_stage_train_every_module(variant, share):
    one, known = plan(variant, variant=variant)
    assert one.modules == (0, 1, 2) and one.share == share and known == 3
    assert one.denoiser == "lora" and one.before == ("base",)
    with pytest.raises(BadStage, match=f"no stage 'species'; this generator has base, {variant}"):
        plan("species", variant=variant)


def test_flat_is_one_stage_on_the_finest_level():
    one, known = plan("species", variant="flat", levels=["species"])
    assert one.modules == (0,) and one.share == (1.0,) and one.denoiser == "lora" and known == 1


def test_the_base_stage_shares_its_images_out_over_all_levels():
    one, _ = plan("base")
    assert one.denoiser == "full" and one.modules == (0, 1, 2)
    assert sum(one.share) == pytest.approx(1) and min(one.share) > 0 and one.share[-1] == 0.7
    assert plan("base", levels=["species"])[0].share == (1.0,)
    with pytest.raises(BadStage, match="no stage 'base'"):
        plan("base", backbone="stable-diffusion")


@pytest.mark.parametrize(
    "trainable, denoisers",
    [("modules", ["frozen"] * 3), ("lora", ["lora"] * 3), ("full", ["full"] * 3), ("published", ["lora", "frozen", "frozen"])],
)  # fmt: skip
def test_what_trains_beside_the_modules_is_one_setting(trainable, denoisers):
    assert [plan(stage, trainable=trainable)[0].denoiser for stage in LEVELS] == denoisers


def test_a_pipeline_needs_no_base_and_neither_does_a_whole_denoiser():
    assert plan("order", backbone="stable-diffusion")[0].before == (None,)
    assert plan("order", trainable="full")[0].before == ("base", None)
