"""An invented checklist, a list of names over it with the right answer of each, and both as files that others read."""

import csv
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

ABOVE = {
    "kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta", "order": "Coleoptera", "family": "Carabidae",
}  # fmt: skip
KINDS = (
    ("accepted", 70), ("author", 10), ("synonym", 6), ("misspelt", 6), ("genus only", 3), ("unknown", 3), ("wrong kingdom", 2),
)  # fmt: skip
"""Kinds of names in a list, in percent."""


@dataclass(frozen=True)
class Question:
    """A name of the list with its right answer: the accepted species, or None where it names none."""

    name: str
    kingdom: str
    kind: str
    species: str | None


def number(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def word(*parts: object) -> str:
    """A pronounceable word of four syllables."""
    n, out = number(*parts), ""
    for _ in range(4):
        n, consonant = divmod(n, 15)
        n, vowel = divmod(n, 5)
        out += "bcdfglmnprstvxz"[consonant] + "aeiou"[vowel]
    return out


def checklist(n: int) -> list[dict]:
    """n accepted species with an author, ten a genus; every fourth has a synonym in another genus."""
    found = {}
    i = 0
    while len(found) < n:
        genus, epithet = word("genus", i // 10).capitalize()[:-1] + "us", word("epithet", i) + "tus"
        synonym = f"{word('old genus', i // 40).capitalize()[:-1]}ella {epithet}" if i % 4 == 0 else None
        found.setdefault(
            f"{genus} {epithet}", {"author": f"Ansorge, {1800 + i % 150}", "genus": genus, "synonym": synonym}
        )
        i += 1
    return [{"species": species, **row} for species, row in found.items()]


def questions(species: list[dict], n: int) -> list[Question]:
    """n different names of the kinds above over the whole checklist."""
    marks = [kind for kind, percent in KINDS for _ in range(percent)]
    asked: dict[str, Question] = {}
    i = 0
    while len(asked) < n:
        row = species[number("row", i) % len(species)]
        kind, name, kingdom, truth = marks[number("kind", i) % 100], row["species"], "", row["species"]
        if kind == "author":
            name = f"{name} {row['author']}"
        elif kind == "synonym":
            name = row["synonym"] or name
        elif kind == "misspelt":
            name = name[:-3] + name[-2:]
        elif kind == "genus only":
            name, truth = f"{row['genus']} sp.", None
        elif kind == "unknown":
            name, truth = f"{word('nobody', i).capitalize()}oides {word('knows', i)}", None
        elif kind == "wrong kingdom":
            kingdom = "Plantae"
        asked.setdefault(name, Question(name, kingdom, kind, truth))
        i += 1
        if i > 50 * n:
            raise SystemExit(f"a checklist of {len(species)} species has no {n} different names; give --checklist more")
    return list(asked.values())


# ---------------------------------------------------------------- the same checklist in the forms that each side reads


def write_list(path: Path, asked: list[Question]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scientificName", "kingdom"])
        writer.writerows((one.name, one.kingdom) for one in asked)


def write_snapshot(path: Path, species: list[dict]) -> None:
    """The offline table of the project: one row a name."""
    columns = [
        "taxonID",
        "scientificName",
        "scientificNameAuthorship",
        "taxonRank",
        "taxonomicStatus",
        "acceptedScientificName",
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *ABOVE, "genus", "species"])
        for i, row in enumerate(species):
            for name, status in ((row["species"], "accepted"), (row["synonym"], "synonym")):
                if name:
                    writer.writerow(
                        [f"s:{i}{status[0]}", name, row["author"], "species", status, row["species"],
                         *ABOVE.values(), row["genus"], row["species"]]
                    )  # fmt: skip


META = """<archive xmlns="http://rs.tdwg.org/dwc/text/"><core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n"
 ignoreHeaderLines="1" rowType="http://rs.tdwg.org/dwc/terms/Taxon"><files><location>taxon.tsv</location></files><id index="0"/>
{fields}</core></archive>
"""
TERMS = (
    "taxonID", "parentNameUsageID", "acceptedNameUsageID", "scientificName", "scientificNameAuthorship", "taxonRank",
    "taxonomicStatus",
)  # fmt: skip


def write_archive(path: Path, species: list[dict]) -> None:
    """A Darwin Core archive as ChecklistBank gives them: lineage by parent, synonyms by the accepted name."""
    lines, parent = ["\t".join(TERMS)], ""
    for rank, name in ABOVE.items():
        lines.append(f"{rank}\t{parent}\t\t{name}\t\t{rank}\taccepted")
        parent = rank
    genera = dict.fromkeys(row["genus"] for row in species)
    lines += [f"g:{genus}\t{parent}\t\t{genus}\t\tgenus\taccepted" for genus in genera]
    for i, row in enumerate(species):
        lines.append(f"{i}\tg:{row['genus']}\t\t{row['species']}\t{row['author']}\tspecies\taccepted")
        if row["synonym"]:
            lines.append(f"{i}s\t\t{i}\t{row['synonym']}\t{row['author']}\tspecies\tsynonym")
    fields = "\n".join(
        f'<field index="{i}" term="http://rs.tdwg.org/dwc/terms/{term}"/>' for i, term in enumerate(TERMS)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.xml", META.format(fields=fields))
        archive.writestr("taxon.tsv", "\n".join(lines) + "\n")


def write_replica(folder: Path, species: list[dict]) -> Path:
    """What the replica is made of: its species table, no pictures, and the synonyms as recorded usages."""
    folder.mkdir()
    with (folder / "species.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scientificName", "scientificNameAuthorship", *ABOVE, "genus", "gbifKey2018"])
        for i, row in enumerate(species):
            writer.writerow([row["species"], row["author"], *ABOVE.values(), row["genus"], 500_000_000 + i])
    (folder / "images.csv").write_text("image,scientificName\n", "utf-8")
    usages = folder / "usages.jsonl"
    with usages.open("w", encoding="utf-8") as file:
        for i, row in enumerate(species):
            if row["synonym"]:
                accepted = 500_000_000 + i
                usage = {
                    "usageKey": 600_000_000 + i, "canonicalName": row["synonym"], "rank": "SPECIES", "status": "SYNONYM",
                    "scientificName": f"{row['synonym']} {row['author']}", "synonym": True, "acceptedUsageKey": accepted,
                    "species": row["species"], "speciesKey": accepted,
                } | ABOVE | {f"{rank}Key": 700 + k for k, rank in enumerate(ABOVE)}  # fmt: skip
                file.write(json.dumps(usage) + "\n")
    return usages
