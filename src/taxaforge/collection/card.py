"""The dataset card: what a stranger must know before using the collection, in Markdown for people and YAML for hubs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from taxaforge import __version__
from taxaforge.collection.attribution import (
    TERMS_OF_USE,
    licence_name,
    licence_url,
    licences_of,
    strictness,
    terms_of,
)
from taxaforge.collection.card_words import (
    CHECKLISTS,
    HUB_LICENCES,
    LIMITS,
    REASONS,
    REMEDY,
    SOURCES,
    UNITS,
    USE_OF_SPLIT,
)
from taxaforge.collection.manifest import PUBLISHED
from taxaforge.collection.markdown import cell, front_matter, table
from taxaforge.collection.schema import SPLIT_NAMES

MOST_SPECIES = 300
"""Rows of the species table; a longer one would bury the card."""

MOST_LICENCES = 20
"""Rows of the table of refused licences, which are free text."""


@dataclass(frozen=True)
class LeftOut:
    """Counts of pictures.

    reasons: reason against a rejected one. licences: what those rejected for their licence say, "" for nothing.
    withheld: licence of those that were kept and may not be published, "" for none.
    """

    reasons: Counter
    licences: Counter
    withheld: Counter


def left_out(offered: Iterable[Mapping], rejected: Sequence[Mapping], withheld: Iterable[Mapping]) -> LeftOut:
    """From the rows of candidates.parquet and rejections.csv, and those that `manifest.published` holds back."""
    refused = {row["identifier"] for row in rejected if row["reason"].startswith("licence")}
    stated = (row["license"] or row["licenseVerbatimMedia"] or "" for row in offered if row["identifier"] in refused)
    kept_back = Counter(row["license"] or "" for row in withheld)
    return LeftOut(Counter(row["reason"] for row in rejected), Counter(stated), kept_back)


def render(
    rows: Sequence[Mapping],
    left_out: LeftOut,
    classes: Sequence[Mapping],
    derived: Sequence[Mapping],
    facts: Mapping,
) -> str:
    """The whole card.

    Args:
        rows: of the published table. classes: classes.json. derived: of derived_dataset.csv.
        facts: see `publish.describe`.
    """
    head = [front_matter(_header(rows, facts)), f"# {facts['name']}", summary(rows, classes, facts)]
    if not rows:
        return "\n\n".join([*head, _nothing(facts), _left_out(0, left_out), _making(classes, facts)]) + "\n"
    parts = [
        *head,
        _splits(rows, facts),
        _loading(facts),
        licences(rows),
        _left_out(len(rows), left_out),
        _species(rows, classes),
        _making(classes, facts),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in LIMITS[facts["source"]]),
        _citing(rows, derived, facts),
        _publishing(facts),
    ]
    return "\n\n".join(parts) + "\n"


def summary(rows: Sequence[Mapping], classes: Sequence[Mapping], facts: Mapping) -> str:
    """What it is, in a paragraph."""
    if not rows:
        return f"A collection of {len(classes)} species without a picture that may be published."
    shown = len({row["scientificName"] for row in rows})
    families = len({record["family"] for record in classes if record.get("family")})
    dealt = "picture by picture" if facts["split"]["unit"] == "image" else "in groups that belong together"
    text = (
        f"{_count(len(rows), 'picture')} of {shown} species in {families} {'family' if families == 1 else 'families'}, "
        f"{SOURCES[facts['source']]}, checked, free of near-duplicates, and dealt to splits {dealt}."
    )
    if facts["source"] == "simulated":
        text += " These are drawn specimens: nothing is a picture of the real species."
    return text


def _header(rows: Sequence[Mapping], facts: Mapping) -> dict:
    """For the Hugging Face hub: the table as a data set of its own, its columns with their types."""
    types = {"bool": "bool", "int64": "int64", "float64": "float64", "string": "string"}
    columns = [{"name": name, "dtype": types[column.type]} for name, column in PUBLISHED.columns.items()]
    if not rows:
        return {"pretty_name": facts["name"]}
    return {
        "pretty_name": facts["name"],
        **hub_licences(rows),
        "task_categories": ["image-classification"],
        "tags": [
            "biology",
            "biodiversity",
            "taxonomy",
            "darwin-core",
            *(["synthetic"] * (facts["source"] == "simulated")),
        ],
        "size_categories": [_size_category(len(rows))],
        # Only an empty cell is a missing value: NA is Namibia.
        "configs": [
            {
                "config_name": "table",
                "data_files": [{"split": "all_pictures", "path": "metadata.csv"}],
                "keep_default_na": False,
                "na_values": [""],
                "features": columns,
            }
        ],
    }


def hub_licences(rows: Sequence[Mapping]) -> dict:
    """The header's lines on licences, in the hub's own words."""
    ids = [(licence or "").lower() for licence, _ in licences_of(rows)]
    known = list(dict.fromkeys(name if name in HUB_LICENCES else "other" for name in ids))
    return {"license": known} | ({"license_name": "per-image, see ATTRIBUTION.csv"} if "other" in known else {})


def _size_category(count: int) -> str:
    bounds = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
    return next((name for bound, name in bounds.items() if count < bound), "10M<n<100M")


def _splits(rows: Sequence[Mapping], facts: Mapping) -> str:
    held = {split: [row for row in rows if row["split"] == split] for split in SPLIT_NAMES}
    lines = [
        (split, len(some), len({row["scientificName"] for row in some}), len({row["split_group"] for row in some}),
         USE_OF_SPLIT[split])
        for split, some in held.items()
        if some
    ]  # fmt: skip
    unit = facts["split"]["unit"]
    if unit == "image":
        ties = (
            "Pictures were dealt one by one, as the benchmark that this follows defines it: related pictures may lie in two "
            "splits, and leakage.csv counts them."
        )
    else:
        kinds = [UNITS[unit].format(**facts["split"]), "pictures of one occurrence", "near-duplicates"]
        apart = dict.fromkeys(kinds)
        ties = (
            f"These never lie in two splits: {'; '.join(apart)}. Pictures so tied are one group (column `split_group`). "
            "leakage.csv counts every kind of tie between splits, also of the kinds that were let pass."
        )
    return f"## Splits\n\n{table(('split', 'images', 'species', 'groups', 'use'), lines)}\n\n{ties}"


def _loading(facts: Mapping) -> str:
    address = " `identifier` is the address it came from, for whoever has this table and not the files."
    address = address if facts["source"] == "gbif" else ""
    return f"""## Loading it

`metadata.csv` has a row a picture: file, species, lineage, split, origin, licence and measures, in Darwin Core and Dublin
Core terms. Read only the empty cell as missing, since `NA` is the code of Namibia:

```python
import pandas as pd

pictures = pd.read_csv("metadata.csv", keep_default_na=False, na_values=[""])
train = pictures[pictures["split"] == "train"]
```

`croissant.json` describes the same table for programs:

```python
import mlcroissant

for record in mlcroissant.Dataset("croissant.json").records("pictures"):
    print(record["pictures/file_name"], record["pictures/scientificName"], record["pictures/split"])
    break
```

`sha256` says whether a file is the picture that was used.{address}"""


def licences(rows: Sequence[Mapping]) -> str:
    """The section on terms: histogram, the strictest, and what using everything takes."""
    counts = licences_of(rows)
    lines = [
        (
            f"[{licence_name(licence)}]({licence_url(licence)})" if licence_url(licence) else licence_name(licence),
            count,
            f"{count / len(rows):.1%}",
            "; ".join(TERMS_OF_USE[term] for term in terms_of(licence)) or "nothing",
        )
        for licence, count in counts
    ]
    strictest = max((licence for licence, _ in counts), key=strictness)
    asked = [term for term in TERMS_OF_USE if any(term in terms_of(licence) for licence, _ in counts)]
    everything = "; ".join(TERMS_OF_USE[term] for term in asked) or "nothing"
    unnamed = sum("BY" in terms_of(row["license"]) and not (row["creator"] or row["rightsHolder"]) for row in rows)
    nameless = (
        f" Of {_count(unnamed, 'picture')} under such a licence neither creator nor owner is recorded; their line names the "
        "observer, or where the picture is from."
        if unnamed
        else ""
    )
    own = (
        ", the one at the picture, not the one at its record"
        if any(row["licenseVerbatimRecord"] for row in rows)
        else ""
    )
    return (
        f"## Licences\n\nEvery picture keeps its own licence{own}.\n\n"
        f"{table(('licence', 'images', 'share', 'asks for'), lines)}\n\n"
        f"Strictest: {licence_name(strictest)}. Who uses all pictures must do all of this: {everything}.\n\n"
        f"`ATTRIBUTION.csv` has a ready line for each of the {len(rows):,} pictures.{nameless}"
    )


def _nothing(facts: Mapping) -> str:
    return (
        "**No picture of this collection may be published.** None is under a licence that the run allows for that: "
        f"{', '.join(facts['licences']) or 'it allows none'}. So `metadata.csv`, `ATTRIBUTION.csv` and "
        f"`derived_dataset.csv` have no rows, and views cannot be made. The run itself uses all its pictures.\n\n"
        f"{REMEDY[facts['source']]}"
    )


def _left_out(published: int, left_out: LeftOut) -> str:
    lost, withheld = left_out.reasons.total(), left_out.withheld.total()
    kept = published + withheld
    text = f"## What was left out\n\n{_count(kept + lost, 'candidate')}: {kept:,} kept, {lost:,} left out."
    if lost:
        lines = [
            (reason, count, REASONS.get(reason, "the host answered so" if reason.startswith("http_") else ""))
            for reason, count in sorted(left_out.reasons.items())
        ]
        text += f"\n\n{table(('reason', 'images', 'meaning'), lines)}"
    if left_out.licences:
        text += f"\n\nLicences of those left out for their licence:\n\n{_counted(left_out.licences)}"
    if withheld:
        text += (
            f"\n\n{withheld:,} of the {kept:,} are not published: the run uses them, but they are in no table and no view "
            f"here, since their licence is not one that the run allows for that:\n\n{_counted(left_out.withheld)}"
        )
    return text


def _counted(licences: Counter) -> str:
    most = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    lines = [(licence_name(name or None), count) for name, count in most[:MOST_LICENCES]]
    rest = len(most) - MOST_LICENCES
    return table(("licence", "images"), lines) + (f"\n\n{rest} rarer ones are not shown." if rest > 0 else "")


def _species(rows: Sequence[Mapping], classes: Sequence[Mapping]) -> str:
    counts: dict[str, Counter] = {record["species"]: Counter() for record in classes}
    for row in rows:
        counts[row["scientificName"]][row["split"]] += 1
    parts = [split for split in SPLIT_NAMES if any(count[split] for count in counts.values())]
    lines = [
        (
            label,
            f"*{record['species']}*",
            record.get("vernacularName") or "",
            record.get("family") or "",
            counts[record["species"]].total(),
            *(counts[record["species"]][split] for split in parts),
        )
        for label, record in enumerate(classes[:MOST_SPECIES])
    ]
    rest = len(classes) - MOST_SPECIES
    text = f"## Species\n\n{table(('label', 'species', 'name', 'family', 'images', *parts), lines)}"
    return text + (f"\n\n{rest:,} more are in `metadata.csv`." if rest > 0 else "")


def _making(classes: Sequence[Mapping], facts: Mapping) -> str:
    asked = {(record.get("taxonID") or "").partition(":")[0] for record in classes}
    names = " and ".join(CHECKLISTS[name] for name in CHECKLISTS if name in asked) or "an unnamed source"
    return (
        f"## How it was made\n\nWith taxaforge {__version__}, seed {facts['seed']}. Names and lineages are those of {names} "
        "(column `taxonID`). Each picture was decoded to its end, measured, and compared with all others; of a set of "
        "near-duplicates one was kept, and a set under two species was dropped whole. Columns `img_` and `qc_` hold the "
        "measures. Settings and tables of every step stand in the run's own report."
    )


def _citing(rows: Sequence[Mapping], derived: Sequence[Mapping], facts: Mapping) -> str:
    if facts["source"] != "gbif":
        named = Counter(row["datasetKey"] for row in rows if row["datasetKey"] and facts["source"] == "folder")
        sources = "".join(f"\n- {cell(name)}: {_count(count, 'picture')}" for name, count in sorted(named.items()))
        return "## Sources\n\nNo GBIF dataset; `derived_dataset.csv` is empty." + (f"\n{sources}" if sources else "")
    doi = f"Cite the download: https://doi.org/{_bare(facts['doi'])}. " if facts.get("doi") else ""
    records = sum(row["count"] for row in derived)
    return (
        f"## Sources\n\n{_count(records, 'occurrence')} of {_count(len(derived), 'GBIF dataset')}, counted in "
        f"`derived_dataset.csv`. {doi}Who publishes the collection registers that table at "
        "https://www.gbif.org/derived-dataset and gets a DOI that credits every publisher."
    )


def _publishing(facts: Mapping) -> str:
    steps = [
        "Publish a view (`snakemake views`) rather than this folder: `images/` also holds pictures that were rejected or "
        "may not be published, for which nobody is credited here. Tables may be shared without the pictures.",
        "Add the date and the address of publication to `croissant.json` (`datePublished`, `url`); a run does not know them.",
    ]
    if facts["source"] == "gbif":
        steps.append("`recordedBy` names people, as the publishers do; remove what your rules do not let you pass on.")
    return "## Before you publish it\n\n" + "\n".join(f"- {step}" for step in steps)


def _bare(doi: str) -> str:
    return doi.removeprefix("https://doi.org/").removeprefix("doi:")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
