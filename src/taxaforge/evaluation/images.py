"""How good each method's images are, in the eyes of the judge and of further models, beside what real images reach.

    recognised            share whose species the judge names
    fd, kid, cmmd         distance between generated and real images, 0 is best
    precision, density    are generated images where real ones are?
    recall, coverage      are they wherever real ones are?
    vendi                 effective number of different images a species, mean over species
    lpips, layer_diversity  mean distance within a species, mean over species
    text_alignment, clip_score, species_top1, sibling_margin   do they show what their name says?
    nearest_train         mean similarity to the most similar training image of the species; above the
                          real value hints at copies

None of them decides a verdict. What distances are held against is real and was never seen by the model that
measures: of the reserve split only what the judge was not trained on for the judge, no training image for the
image-text model that was trained on them. A model that filtered or guided a method's images is no independent
witness for them; its rows say so.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from taxaforge import tables
from taxaforge.classification.judge import parts, subset
from taxaforge.evaluation.extractors import open_extractor, see
from taxaforge.evaluation.floors import Measure
from taxaforge.evaluation.schema import IMAGES
from taxaforge.evaluation.seen import joined
from taxaforge.files import read_json
from taxaforge.packs import Pack


def measure(
    *,
    judge: str | Path,
    kept: Mapping[str, str | Path],
    train: str | Path,
    reserve: str | Path,
    validation: str | Path,
    classes: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    semantics: str | Path | None = None,
    weights: Mapping[str, str | Path] | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
) -> None:
    """Write IMAGES: a row a method, model, scope and metric, and rows of method "real" for held-out real images.

    Args:
        kept: method -> pack of its kept images. reserve: of it the judge uses only the part that it never saw.
        cfg: neighbours, floor_splits, kid_subset, and `features`: the models as `extractors.open_extractor` takes
            them, each with `shaped`, the methods whose images it filtered or guided.
        seed: of the splits. semantics: folder of the image-text model, where a model is of that kind.
        weights: name of a model -> its local weights.
    Raises: TaxaforgeError of a model that cannot be opened, or of a pack with other species.
    """
    records, reserved = read_json(classes), Pack.load(reserve)
    real = {"train": Pack.load(train), "validation": Pack.load(validation)}
    rows = []
    for spec in cfg["features"]:
        eyes = open_extractor(
            spec,
            classes=records,
            judge=judge,
            semantics=semantics,
            weights=(weights or {}).get(spec["name"], ""),
            device=device,
        )
        fresh = subset(reserved, parts(reserved)["held_out"]) if spec["kind"] == "judge" else reserved
        training, held_out = see(eyes, real["train"]), joined(see(eyes, real["validation"]), see(eyes, fresh))
        measures = Measure(
            training=training,
            held_out=held_out,
            real=held_out if spec["kind"] == "semantics" else joined(training, held_out),
            species=[record["species"] for record in records],
            cfg=cfg,
            seed=seed,
            diversity=eyes.diversity,
            unit=eyes.unit,
        )
        for method, path in [("real", None), *kept.items()]:
            named = {"method": method, "features": spec["name"], "independent": method not in spec["shaped"]}
            found = measures.rows(None if path is None else see(eyes, Pack.load(path)))
            rows += [named | row for row in found]
    tables.write(IMAGES, rows, out)
    for row in rows:
        if row["scope"] == "all" and row["value"] is not None:
            place = "" if row["features"] == "judge" else f"{row['features']}/"
            log(None, {f"{place}{row['metric']}/{row['method']}": row["value"]})
