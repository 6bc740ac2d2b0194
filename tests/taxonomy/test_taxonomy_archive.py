"""Checklists of one's own: Darwin Core archives and taxon tables, read past the list of names."""

import random
import tracemalloc
import zipfile

import pytest

from taxaforge.taxonomy.judge import judge
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.schema import POLICY
from taxaforge.taxonomy.sources import archive
from taxaforge.taxonomy.sources.dwca import BadArchive, open_table

# id, parent, accepted, rank, status, name, author
TREE = """
k|p0||kingdom|accepted|Animalia|
p0|||unranked|accepted|Biota|
p|k||phylum|accepted|Arthropoda|
c|p||class|accepted|Insecta|
o|c||order|accepted|Lepidoptera|
sf|o||superfamily|accepted|Papilionoidea|
f|sf||family|accepted|Nymphalidae|
g|f||genus|accepted|Aglais Dalman, 1816|Dalman, 1816
gi|||genus|synonym|Inachis Hübner, 1819|Hübner, 1819
s1|g||species|accepted|Aglais io (Linnaeus, 1758)|(Linnaeus, 1758)
s2|g||species|accepted|Aglais urticae (Linnaeus, 1758)|(Linnaeus, 1758)
y1||s1|species|synonym|Inachis io (Linnaeus, 1758)|(Linnaeus, 1758)
y2||y1|species|heterotypic synonym|Papilio io Linnaeus, 1758|Linnaeus, 1758
u|s1||subspecies|accepted|Aglais io caucasica (Jachontov, 1912)|(Jachontov, 1912)
y3||u|species|synonym|Vanessa caucasica Jachontov, 1912|Jachontov, 1912
y4||lost|species|synonym|Vanessa perdita Nobody, 1900|Nobody, 1900
m||s2|species|misapplied|Vanessa urticella auct.|
d|g||species|doubtful|Aglais dubia Doubt, 1900|Doubt, 1900
h|g||species|accepted|Aglais × hybrida|
y5||h|species|synonym|Vanessa hybridula Nobody, 1901|Nobody, 1901
n|g||species|accepted|Aglais sp. 3|
q1|g||species|accepted|Aglais bicolor One, 1900|One, 1900
q2|g2||species|accepted|Aglais bicolor Two, 1950|Two, 1950
g2|f2||genus|accepted|Aglais Plantman|Plantman
f2|k2||family|accepted|Rosaceae|
k2|||kingdom|accepted|Plantae|
""".strip("\n")  # fmt: skip
TERMS = (
    "taxonID",
    "parentNameUsageID",
    "acceptedNameUsageID",
    "taxonRank",
    "taxonomicStatus",
    "scientificName",
    "scientificNameAuthorship",
)
ROWS = [line.split("|") for line in TREE.split("\n")]


def table(folder, rows=ROWS, terms=TERMS, separator="\t", name="taxa.tsv"):
    path = folder / name
    quote = (lambda cell: f'"{cell}"') if separator != "\t" else str
    lines = [separator.join(map(quote, row)) for row in (terms, *rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


META = """<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
  <core encoding="UTF-8" fieldsTerminatedBy="{separator}" linesTerminatedBy="\\n" fieldsEnclosedBy="{quote}" ignoreHeaderLines="{skip}"
        rowType="http://rs.tdwg.org/dwc/terms/{type}">
    <files><location>{member}</location></files>
    <id index="0" />
    {fields}
  </core>
</archive>"""


def packed(folder, separator="\t", quote="", skip=1, type="Taxon", member="taxon.txt", prefix=""):
    """A Darwin Core archive of TREE. The header line says nonsense: only meta.xml counts."""
    fields = "\n".join(
        f'<field index="{n}" term="http://rs.tdwg.org/dwc/terms/{term}"/>' for n, term in enumerate(TERMS) if n
    )
    shown = {"\t": "\\t"}.get(separator, separator)
    meta = META.format(
        separator=shown, quote=quote.replace('"', "&quot;"), skip=skip, type=type, member=member, fields=fields
    )
    lines = [["#"] * 7] * skip + [[f"{quote}{cell}{quote}" for cell in row] for row in ROWS]
    with zipfile.ZipFile(folder / "checklist.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(f"{prefix}meta.xml", meta)
        out.writestr(f"{prefix}taxon.txt", "\n".join(separator.join(line) for line in lines) + "\n")
        out.writestr(f"{prefix}eml.xml", "<eml/>")
    return folder / "checklist.zip"


def verdict(path, written, **hints):
    name = parse(written)
    return judge(name, hints, archive.load(path, [name])(name, hints))


FORMS = {
    "archive": packed,
    "archive in a folder, quoted": lambda folder: packed(folder, ",", '"', 0, prefix="export/"),
    "tab-separated table": table,
    "comma-separated table": lambda folder: table(folder, separator=","),
    "semicolon table with prefixes": lambda folder: table(
        folder, separator=";", terms=[f"dwc:{term}" for term in TERMS]
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "written, status, species",
    [
        ("Aglais io", "exact_accepted", "Aglais io"),
        ("Aglais io (Linnaeus, 1758)", "exact_accepted", "Aglais io"),
        ("Inachis io", "exact_synonym", "Aglais io"),
        pytest.param("Papilio io", "exact_synonym", "Aglais io", id="synonym of a synonym"),
        pytest.param("Vanessa caucasica", "exact_synonym", "Aglais io", id="synonym of a subspecies"),
        ("Aglais io caucasica", "exact_accepted", "Aglais io"),
        ("Aglais io imaginaria", "rolled_up_to_species", "Aglais io"),
        ("Aglais urtica", "orthographic_variant", "Aglais urticae"),
        ("Aglais urticea", "rolled_up_to_genus", None),
        ("Aglais sp.", "ambiguous_homonym", None),
        ("Nymphalidae", "higher_only", None),
        ("Vanessa urticella", "no_match", None),
        ("Aglais dubia", "provisional", None),
        ("Vanessa perdita", "provisional", None),
        ("Aglais hybrida", "provisional", None),
        ("Vanessa hybridula", "provisional", None),
        ("Aglais bicolor", "ambiguous_homonym", None),
        ("Aglais bicolor Two, 1950", "exact_accepted", "Aglais bicolor"),
        ("Xqz blorptifer", "no_match", None),
    ],
)
def test_names_against_a_checklist_of_ones_own(tmp_path, form, written, status, species):
    found = verdict(FORMS[form](tmp_path), written)
    assert found.status == status
    assert (found.usage.lineage["species"] if found.labelled(POLICY) else None) == species


def test_the_lineage_follows_the_parents_of_the_accepted_taxon(tmp_path):
    found = verdict(packed(tmp_path), "Vanessa caucasica")
    assert dict(found.usage.lineage) == {
        "kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta", "order": "Lepidoptera", "family": "Nymphalidae",
        "genus": "Aglais", "species": "Aglais io",
    }  # fmt: skip
    assert (found.usage.key, found.usage.species_key) == ("archive:y3", "archive:s1")


def test_hints_choose_the_homonym(tmp_path):
    assert verdict(packed(tmp_path), "Aglais bicolor", kingdom="Plantae").usage.key == "archive:q2"
    assert verdict(packed(tmp_path), "Aglais bicolor", family="Nymphalidae").usage.key == "archive:q1"


def test_names_that_look_alike_are_offered(tmp_path):
    names = [parse(written) for written in ("Aglais urticea", "Aglias io", "Nymphalida", "Xqz blorptifer", "Aglais io")]
    ask = archive.load(packed(tmp_path), names)
    assert [ask(name).similar for name in names] == [("Aglais urticae",), ("Aglais io",), ("Nymphalidae",), (), ()]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_decides_nothing(tmp_path, seed):
    written = [
        "Aglais io",
        "Vanessa caucasica",
        "Papilio io",
        "Aglais bicolor",
        "Aglais",
        "Aglais urticea",
        "Aglais io imaginaria",
    ]
    names = [parse(text) for text in written]
    shuffled = random.Random(seed).sample(ROWS, len(ROWS))
    first, second = archive.load(table(tmp_path), names), archive.load(table(tmp_path, shuffled, name="b.tsv"), names)
    assert [first(name) for name in names] == [second(name) for name in names]


FLAT = """
1||species|accepted|Aus bus L.|L.|Animalia|Aidae|Aus
2|1|species|synonym|Cus bus L.|L.|Animalia|Aidae|Aus
3||subspecies|accepted|Aus bus minor Fabr.|Fabr.|Animalia|Aidae|Aus
4||species|accepted|Dus eus|Nob.|Plantae|Didae|Dus
0||species|accepted|Aus bus Hort.|Hort.|Plantae|Zusidae|Aus
5||genus|accepted|Dus Nob.|Nob.|Plantae|Didae|Dus
""".strip("\n").split("\n")
FLAT_TERMS = (
    "taxonID",
    "acceptedNameUsageID",
    "taxonRank",
    "taxonomicStatus",
    "scientificName",
    "scientificNameAuthorship",
    "kingdom",
    "family",
    "genus",
)


@pytest.mark.parametrize(
    "written, status, lineage",
    [
        ("Cus bus", "exact_synonym", ["Animalia", "Aidae", "Aus", "Aus bus"]),
        pytest.param("Aus bus", "ambiguous_homonym", None, id="in two kingdoms"),
        ("Aus bus minor", "exact_accepted", ["Animalia", "Aidae", "Aus", "Aus bus"]),
        ("Dus novus", "rolled_up_to_genus", ["Plantae", "Didae", "Dus"]),
        ("Didae", "higher_only", ["Plantae", "Didae"]),
    ],
)
def test_a_table_with_the_ranks_as_columns_needs_no_parents(tmp_path, written, status, lineage):
    found = verdict(table(tmp_path, [line.split("|") for line in FLAT], FLAT_TERMS), written)
    assert found.status == status
    assert lineage is None or list(found.usage.lineage.values()) == lineage
    if " " in written and lineage and len(lineage) == 4:
        assert found.usage.species_key == "archive:1"


def test_a_genus_with_a_row_of_its_own_is_that_row_and_not_its_mention(tmp_path):
    path = table(tmp_path, [line.split("|") for line in FLAT], FLAT_TERMS)
    assert verdict(path, "Dus sp.").usage.key == "archive:5"
    assert verdict(path, "Didae").usage.key == "Plantae/Didae"


def test_parts_of_a_name_in_columns_of_their_own_are_believed(tmp_path):
    terms = ("taxonID", "scientificName", "genericName", "specificEpithet", "infraspecificEpithet")
    rows = [["1", "Aus (Zus) bus in Odd & al.", "Aus", "bus", ""], ["2", "Aus bus subsp. cus Odd", "Aus", "bus", "cus"]]
    path = table(tmp_path, rows, terms)
    assert (
        verdict(path, "Aus bus").usage.key == "archive:1"
        and verdict(path, "Aus bus cus").usage.canonical == "Aus bus cus"
    )


def test_circles_of_parents_and_of_synonyms_end(tmp_path):
    rows = [
        ["a", "b", "", "species", "accepted", "Aus bus", ""],
        ["b", "a", "", "genus", "accepted", "Aus", ""],
        ["x", "", "y", "species", "synonym", "Cus bus", ""],
        ["y", "", "x", "species", "synonym", "Dus bus", ""],
    ]
    assert verdict(table(tmp_path, rows), "Aus bus").status == "exact_accepted"
    assert verdict(table(tmp_path, rows), "Cus bus").status == "provisional"


def test_memory_grows_with_the_list_and_not_with_the_checklist(tmp_path):
    peaks = []
    for size in (2_000, 40_000):
        rows = [*ROWS, *([f"x{n}", "g", "", "species", "accepted", f"Aus b{n}us", ""] for n in range(size))]
        rows += [[f"h{n}", "f", "", "genus", "accepted", f"Gen{'abcdefghij'[n % 10]}us", ""] for n in range(size)]
        path = table(tmp_path, rows)
        tracemalloc.start()
        archive.load(path, [parse("Aglais io"), parse("Inachis io")])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000  # bytes; 76,000 rows more


@pytest.mark.parametrize(
    "make, says",
    [
        pytest.param(lambda f: f / "none.zip", "does not exist.*taxonomy.archive", id="missing"),
        pytest.param(lambda f: f, "is a folder", id="a folder"),
        pytest.param(lambda f: packed(f, type="Occurrence"), "no Taxon table", id="occurrences"),
        pytest.param(lambda f: packed(f, member="gone.txt"), "has no gone.txt", id="a table that is not in the zip"),
        pytest.param(
            lambda f: table(f, [["1", "b"]], ("id", "name")),
            "no columns taxonID and scientificName",
            id="other columns",
        ),
        pytest.param(
            lambda f: table(f, [*ROWS, [*ROWS[9][:5], "Aglais alia", ""]]), "'s1' stands for", id="an identifier twice"
        ),
    ],
)
def test_what_is_no_checklist_is_named(tmp_path, make, says):
    with pytest.raises(BadArchive, match=says):
        archive.load(make(tmp_path), [parse("Aglais io"), parse("Aglais alia")])


def test_another_encoding_is_named_not_guessed(tmp_path):
    rows = "1\tIsoetes lacustris\n" * 2_000
    (tmp_path / "t.tsv").write_bytes(f"taxonID\tscientificName\n{rows}2\tIsoëtes lacustris\n".encode("latin-1"))
    with pytest.raises(BadArchive, match=r"is not utf-8.* after line [12]"):
        list(open_table(tmp_path / "t.tsv").rows())


def test_a_damaged_zip_is_named(tmp_path):
    path = packed(tmp_path)
    raw = bytearray(path.read_bytes())
    at = raw.find(b"taxon.txt") + 60
    raw[at : at + 40] = bytes(40)
    path.write_bytes(bytes(raw))
    with pytest.raises(BadArchive, match=r"damaged|cannot be read|not UTF-8"):
        archive.load(path, [parse("Aglais io")])


def test_a_list_is_resolved_from_an_archive(tmp_path, resolved):
    lines = ["Inachis io", "Aglais urticae", "Aglais bicolor", "Xqz blorptifer"]
    run = resolved(tmp_path / "run", lines, {"source": "archive"}, archive=packed(tmp_path), snapshot=None)
    assert run.status == dict(
        zip(lines, ["exact_synonym", "exact_accepted", "ambiguous_homonym", "no_match"], strict=True)
    )
    assert [record["taxonID"] for record in run.classes] == ["archive:s1", "archive:s2"]
    assert {(row["source"], row["lineageSource"]) for row in run.taxa if row["label"]} == {("archive", "archive")}
    assert run.provenance == []
