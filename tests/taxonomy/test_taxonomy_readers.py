"""Files that are none: every reader of a table names what is wrong with it, whatever it is given."""

import os
import random
import zipfile
from pathlib import Path

import pytest

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy import taxa_list
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.overrides import Overrides
from taxaforge.taxonomy.payloads import says_something, usable
from taxaforge.taxonomy.sources import archive, snapshot
from taxaforge.taxonomy.sources.dwca import BadArchive, open_table
from taxaforge.taxonomy.sources.gbif import read_answer
from taxaforge.taxonomy.taxa_list import BadTaxaList

SHIPPED = Path(__file__).parents[2] / "config/taxa/snapshot.csv"


def read_archive(path):
    ask = archive.load(path, [parse("Aus bus"), parse("Aus cus"), parse("Aus")])
    return ask(parse("Aus bus"))


READERS = {
    "list": taxa_list.read,
    "overrides": Overrides,
    "snapshot": snapshot.load,
    "archive": read_archive,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["endless name", "below a file", "circle of links", "no right"])
def test_a_file_that_the_system_does_not_give_is_named(tmp_path, monkeypatch, reader, kind):
    (tmp_path / "file").write_text("x")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = {
        "endless name": tmp_path / ("x" * 300),
        "below a file": tmp_path / "file/x.csv",
        "circle of links": tmp_path / "circle",
    }
    path = path.get(kind, tmp_path / "file")

    def refused(*args, **more):
        raise PermissionError(13, "Permission denied", str(path))

    if kind == "no right":  # asked of the system itself as anybody else than root, who may read all
        for name in ("open", "is_file", "read_bytes"):
            monkeypatch.setattr(Path, name, refused)
    with pytest.raises(TaxaforgeError, match=r"(?s)cannot be read|does not exist") as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value) and len(str(caught.value).split(". ")) >= 2
    assert kind != "no right" or "Permission denied" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_somebody_else_is_named(tmp_path, reader):
    path = tmp_path / "locked.csv"
    path.write_text("scientificName\nAus bus\n")
    path.chmod(0)
    with pytest.raises(TaxaforgeError, match="Permission denied"):
        READERS[reader](path)


@pytest.mark.parametrize(
    "text, says",
    [
        ("sep=;\n", "is empty"),
        ("sep=;", "is empty"),
        ('"sep=;"\r\n\r\n', "is empty"),
        ("a" * 140_000 + "\n", "no column `scientificName`, only a first line of endless text"),
        ('"' + "a\n" * 70_000, "no column `scientificName`"),
        ("x," * 100_000 + "\n", r"only 'x', .* \.\.\.\. Name"),
        ('scientificName\n"a' + "x" * 140_000 + '"\n', "cannot be read as a table near line 2"),
        ("scientificName\x0bx\nAus bus\n", "no column `scientificName`"),
        ('""\n""\n', "no column `scientificName`"),
        ("sep=;\rscientificName;kingdom\r;;\r", "holds no names"),
    ],
)
def test_lists_that_once_ended_in_a_traceback(tmp_path, text, says):
    (tmp_path / "list.csv").write_text(text, "utf-8", newline="")
    with pytest.raises(BadTaxaList, match=says) as caught:
        taxa_list.read(tmp_path / "list.csv")
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("text", ["\n \nscientificName\nAus bus\n", ";;\nkingdom;scientificName\n;Aus bus\n"])
def test_blank_lines_before_the_header_do_no_harm(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, "utf-8")
    assert [entry.name for entry in taxa_list.read(tmp_path / "list.csv")] == ["Aus bus"]


META = (
    '<archive><core rowType="http://rs.tdwg.org/dwc/terms/Taxon" {0}><files><location>t.txt</location></files><id index="{1}"/>'
    '<field index="{2}" term="http://rs.tdwg.org/dwc/terms/scientificName"/></core></archive>'
)


def packed(folder, attributes="", id_at="0", name_at="1", meta=None, content=b"1\tAus bus\n"):
    with zipfile.ZipFile(folder / "c.zip", "w") as out:
        out.writestr("meta.xml", meta if meta is not None else META.format(attributes, id_at, name_at))
        out.writestr("t.txt", content)
    return folder / "c.zip"


@pytest.mark.parametrize(
    "given, says",
    [
        ({"attributes": 'encoding="UTF8-BOM"'}, "names the encoding 'UTF8-BOM'"),
        ({"attributes": 'encoding="base64"'}, "names the encoding 'base64'"),
        ({"attributes": 'fieldsTerminatedBy=""'}, "separates cells by ''"),
        ({"attributes": 'fieldsTerminatedBy="||"'}, r"separates cells by '\|\|'"),
        ({"attributes": 'fieldsTerminatedBy="\\n"'}, "must be one character"),
        ({"attributes": "fieldsEnclosedBy=\"''\""}, "encloses them by \"''\""),
        ({"attributes": 'fieldsTerminatedBy="|" fieldsEnclosedBy="|"'}, "not the same one"),
        ({"attributes": 'ignoreHeaderLines="one"'}, "ignoreHeaderLines='one'"),
        ({"attributes": 'ignoreHeaderLines="-1"'}, "ignoreHeaderLines='-1'"),
        ({"id_at": "-1"}, "index='-1'"),
        ({"name_at": "1.0"}, r"index='1\.0'"),
        ({"name_at": "999999999"}, "no number from 0 to 10000"),
        ({"name_at": "9" * 5000}, "no number from 0 to 10000"),
        ({"meta": "<archive>"}, "no XML"),
        ({"meta": b'<?xml version="1.0" encoding="nonsense"?><a/>'}, "no XML"),
        ({"meta": b'<?xml version="1.0" encoding="cp037"?>\xff\xff'}, "no XML"),
        ({"meta": b"\xff\xfe<\x00"}, "no XML"),
        ({"attributes": 'fieldsTerminatedBy="\\t"', "content": b'1\t"' + b"x" * 140_000}, "cannot be read near line"),
        ({"attributes": 'encoding="UTF-16"', "content": b"1\tA"}, "is not UTF-16"),
    ],
)
def test_archives_that_once_ended_in_a_traceback(tmp_path, given, says):
    with pytest.raises(BadArchive, match=says) as caught:
        read_archive(packed(tmp_path, **given))
    assert str(tmp_path / "c.zip") in str(caught.value) and len(str(caught.value)) < 1_000


def test_what_the_guide_allows_is_still_read(tmp_path):
    path = packed(
        tmp_path, 'fieldsTerminatedBy="|" fieldsEnclosedBy="" ignoreHeaderLines=" 1 "', content=b"#|#\n1|Aus bus\n"
    )
    assert read_archive(path).best.key == "archive:1"


def test_a_locked_archive_is_named(tmp_path):
    path = packed(tmp_path, 'fieldsTerminatedBy="\\t"')
    raw = bytearray(path.read_bytes())
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0: encrypted
        at = -1
        while (at := raw.find(signature, at + 1)) >= 0:
            raw[at + flag] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(BadArchive, match="damaged or locked"):
        read_archive(path)


def test_a_table_of_one_endless_line_is_named(tmp_path):
    (tmp_path / "t.tsv").write_text("taxonID\tscientificName" + "x" * 200_000)
    with pytest.raises(BadArchive, match="has no columns taxonID and scientificName"):
        open_table(tmp_path / "t.tsv")


# ---------------------------------------------------------------------------------------- fuzzing, bounded and seeded

PIECES = ["scientificName", "taxonID", "taxonRank", "parentNameUsageID", "acceptedNameUsageID", "taxonomicStatus", "genus", "family",
          "canonicalName", "verbatimScientificName", "hints", "decision", "Aus bus", "Aus", "× bus", "\u0301 \u0301", "species", "1", "2",
          "sep=;", "", " ", ",", ";", "\t", "\n", "\r", "\r\n", '"', "\0", "\x0b", "\u2028", "\ufeff", "é", "日", "†", "x" * 500]  # fmt: skip


def text_of(draw):
    header = draw.choice(["scientificName,kingdom\n", "taxonID\tscientificName\ttaxonRank\tacceptedNameUsageID\n", ""])
    shipped = draw.choice(["", SHIPPED.read_text("utf-8")[:1500]])
    return header + shipped + "".join(draw.choices(PIECES, k=draw.randrange(40)))


def damaged(draw, raw):
    raw = bytearray(raw)
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(raw) + 1)
        raw[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
    return bytes(raw[: draw.randrange(1, len(raw) + 2)] if draw.random() < 0.2 else raw)


@pytest.mark.parametrize("reader", READERS)
def test_no_table_ends_in_a_traceback(tmp_path, reader):
    draw, path, refused = random.Random(7), tmp_path / "fuzz.csv", 0
    for _ in range(400):
        encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
        path.write_bytes(damaged(draw, text_of(draw).encode(encoding, "replace")))
        try:
            READERS[reader](path)
        except TaxaforgeError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 50


def test_no_archive_ends_in_a_traceback(tmp_path):
    draw, outcomes = random.Random(8), set()
    numbers = ["0", "1", "2", "-1", "x", "", "1e3", "٣", "99999999999999999999999", " 1 "]
    for _ in range(400):
        attributes = {
            "encoding": draw.choice(
                ["UTF-8", "UTF8-BOM", "", "latin-1", "utf-16", "hex", "idna", "undefined", "utf-7", "nul"]
            ),
            "fieldsTerminatedBy": draw.choice(["\\t", "\\t", ",", "", "||", "\\n", "&quot;", "é"]),
            "fieldsEnclosedBy": draw.choice(["", "&quot;", "ab", "\\t", "\\n"]),
            "ignoreHeaderLines": draw.choice(numbers),
        }
        some = " ".join(f'{name}="{value}"' for name, value in attributes.items() if draw.random() < 0.4)
        meta = META.format(some, draw.choice(numbers[:3] + numbers), draw.choice(numbers[:3] + numbers)).encode()
        content = text_of(draw).replace(",", "\t").encode()
        path = packed(
            tmp_path, meta=damaged(draw, meta) if draw.random() < 0.3 else meta, content=damaged(draw, content)
        )
        if draw.random() < 0.3:
            path.write_bytes(damaged(draw, path.read_bytes()))
        try:
            read_archive(path)
            outcomes.add("read")
        except BadArchive as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


USAGE = {
    "key": "4D",
    "name": "Aus bus L.",
    "canonicalName": "Aus bus",
    "authorship": "L.",
    "rank": "SPECIES",
    "status": "SYNONYM",
}
ANSWER = {
    "usage": USAGE,
    "acceptedUsage": USAGE | {"key": "5E", "status": "ACCEPTED"},
    "classification": [{"key": "K", "name": "Animalia", "rank": "KINGDOM"}, {"key": "5E", "name": "Aus bus", "rank": "SPECIES"}],
    "diagnostics": {
        "matchType": "EXACT",
        "confidence": 96,
        "alternatives": [{"usage": USAGE, "diagnostics": {"matchType": "EXACT"}}],
    },
    "synonym": True,
}  # fmt: skip
PAGE = {
    "results": [{"key": 1, "media": [{"identifier": "x"}]}],
    "endOfRecords": True,
    "count": 1,
    "facets": [{"counts": [1]}],
}
STRANGE = [None, 0, 1, 1.5, True, "", " ", "x", "\ud800", [], [None], ["x"], {}, {"x": 1}, [{}], [[]]]


def mutated(draw, value):
    """The value with some members replaced by strange ones or gone."""
    if draw.random() < 0.06:
        return draw.choice(STRANGE)
    if isinstance(value, dict):
        return {name: mutated(draw, member) for name, member in value.items() if draw.random() > 0.03}
    return [mutated(draw, member) for member in value] if isinstance(value, list) else value


def test_what_counts_as_an_answer_can_be_read_and_written():
    draw, right = random.Random(9), 0
    for _ in range(6000):
        body = mutated(draw, ANSWER)
        if usable("/v2/species/match", body):
            right += 1
            answer = read_answer(body, "col_xr")
            for usage in answer.usages:
                words = (
                    usage.key,
                    usage.canonical,
                    usage.author,
                    usage.rank,
                    usage.status,
                    usage.species_key,
                    *usage.lineage.values(),
                )
                assert usage.canonical.strip() and " ".join(words).encode()
        page = mutated(draw, PAGE)
        if usable("/v1/occurrence/search", page):
            says_something("/v1/occurrence/search", page)
            assert all(isinstance(media, dict) for record in page["results"] for media in record.get("media") or ())
    assert 300 < right < 5000
