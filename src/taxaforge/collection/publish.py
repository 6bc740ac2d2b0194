"""What turns pictures on a disk into a collection that others can use, cite and load again."""

from collections.abc import Callable, Mapping
from pathlib import Path

from taxaforge import tables
from taxaforge.collection import card, croissant
from taxaforge.collection.attribution import (
    ATTRIBUTION,
    DERIVED,
    attributions,
    derived_datasets,
)
from taxaforge.collection.manifest import PUBLISHED, NotPublishable, published
from taxaforge.collection.schema import CANDIDATES, REJECTIONS
from taxaforge.files import atomic, read_json, sha256_of, write_json


def describe(
    *,
    metadata: str | Path,
    splits: str | Path,
    candidates: str | Path,
    rejections: str | Path,
    ledger: str | Path,
    classes: str | Path,
    facts: Mapping,
    out_table: str | Path,
    out_attribution: str | Path,
    out_derived: str | Path,
    out_card: str | Path,
    out_croissant: str | Path,
    origin: str | Path | None = None,
    log: Callable = lambda step, values: None,
) -> None:
    """Writes the published table and everything that is said about it.

    A picture enters it if its licence is on the list, and is only counted in the card if not. Where none enters, the
    tables have no rows, and the card says what to do.

    Args:
        metadata, splits, candidates, rejections, ledger: of the collection.
        classes: classes.json.
        facts: name, source, seed and section split of the run; licences, the ids under which a picture may be
            published; doi of the download, if any.
        out_table: metadata.csv, schema PUBLISHED.
        out_attribution: ATTRIBUTION.csv, schema ATTRIBUTION, as many rows.
        out_derived: derived_dataset.csv, schema DERIVED; only a header where nothing is from GBIF.
        out_card: README.md, the dataset card.
        out_croissant: croissant.json. It names the table and the pictures by their place beside it.
        origin: origin.json of the fetch; its `doi` counts where facts have none.
        log: receives images_published, images_withheld and datasets_cited.
    Raises: NotPublishable where tables and ledger do not add up.
    """
    rows, withheld = published(metadata, splits, classes, facts["licences"])
    left_out = card.left_out(tables.read(CANDIDATES, candidates), tables.read(REJECTIONS, rejections), withheld)
    check_ledger(len(rows) + len(withheld), left_out.reasons, read_json(ledger))
    doi = facts.get("doi") or (read_json(origin).get("doi") if origin else None)
    facts = {**facts, "doi": doi}
    derived = derived_datasets(rows)
    tables.write(PUBLISHED, rows, out_table)
    tables.write(ATTRIBUTION, attributions(rows), out_attribution)
    tables.write(DERIVED, derived, out_derived)
    records = read_json(classes)
    with atomic(out_card) as temporary:
        temporary.write_text(card.render(rows, left_out, records, derived, facts), "utf-8")
    table = {"name": Path(out_table).name, "sha256": sha256_of(out_table), "bytes": Path(out_table).stat().st_size}
    write_json(out_croissant, croissant.describe(rows, records, table, card.summary(rows, records, facts), facts))
    log(None, {"images_published": len(rows), "images_withheld": len(withheld), "datasets_cited": len(derived)})


def check_ledger(kept: int, reasons: Mapping[str, int], ledger: Mapping) -> None:
    """Raises NotPublishable where a picture got lost between the tables."""
    if (kept, dict(reasons)) != (ledger["kept"], ledger["rejected"]):
        raise NotPublishable(
            f"The ledger counts {ledger['kept']} kept and {sum(ledger['rejected'].values())} rejected pictures, the "
            f"tables hold {kept} and {sum(reasons.values())}. Run the rule curate_images again."
        )
