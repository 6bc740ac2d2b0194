"""Both methods from a trained stage to a filtered pack, with a real image-text model."""

from dataclasses import replace

from taxaforge import tables
from taxaforge.config.filter import Filter
from taxaforge.config.guidance import Guidance
from taxaforge.config.semantics import Semantics
from taxaforge.guidance.filter import gather
from taxaforge.guidance.generate import generate
from taxaforge.guidance.schema import IMAGES
from taxaforge.packs import Pack
from taxaforge.semantics.train import train


def test_compared_methods_go_from_model_to_pack_and_differ_in_their_guidance_only(stage, tmp_path):
    settings = Semantics(width=16, layers=1, steps=2, batch_size=4).model_dump(mode="json")
    small = Pack.load(stage["model"].parent / "train.npy")
    pack = tmp_path / "train.npy"
    replace(small, pixels=small.pixels.repeat(4, 1).repeat(4, 2)).save(pack)  # its image tower wants 32 px
    train(pack=pack, classes=stage["classes"], cfg=settings, seed=1, out=tmp_path / "semantics")
    asked = Guidance(steps=2, images_per_species=3)
    tables_of = {}
    for method in asked.methods:
        root, cfg = tmp_path / "images" / method, getattr(asked, method).model_dump(mode="json")
        shards = [root / "shards" / str(shard) for shard in range(asked.shards)]
        cfg = {"steps": asked.steps, "images_per_species": asked.images_per_species, "shards": asked.shards, **cfg}
        for shard, out in enumerate(shards):
            generate(**stage, method=method, cfg=cfg, seed=7, shard=shard, shards=asked.shards, out=out, every_s=1e9)
        gather(
            shards=shards,
            semantics=tmp_path / "semantics",
            classes=stage["classes"],
            method=method,
            cfg=Filter(method="semantics", top_k=2).model_dump(mode="json"),
            out=root / "metadata.parquet",
            out_pack=root / "kept.npy",
            out_sheet=root / "contact_sheet.png",
        )
        tables_of[method] = rows = tables.read(IMAGES, root / "metadata.parquet")
        kept = [row["identifier"] for row in rows if row["kept"]]
        assert Pack.load(root / "kept.npy").identifier == kept
        assert all(row["kept"] == (row["filterRank"] <= 2) for row in rows if row["reason"] != "min_contrast")
        assert all(0 < row["filterScore"] < 1 for row in rows)
        assert (root / "contact_sheet.png").stat().st_size > 0
    cfg, taxadiffusion = tables_of["cfg"], tables_of["taxadiffusion"]
    for shared in ("scientificName", "seed", "prompt", "steps", "scale"):
        assert [row[shared] for row in cfg] == [row[shared] for row in taxadiffusion]
    assert [row["filterScore"] for row in cfg] != [row["filterScore"] for row in taxadiffusion]
    assert {row["evidence"] for row in cfg} == {"standard"}
    assert {row["evidence"] for row in taxadiffusion} == {"code"}
