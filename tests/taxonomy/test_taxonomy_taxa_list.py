"""The user's CSV, with what spreadsheets do to it."""

import pytest

from taxaforge.taxonomy.taxa_list import BadTaxaList, read


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_and_hints_are_read_whatever_the_spreadsheet(tmp_path, encoding, end):
    text = end.join(
        [
            "scientificName,kingdom,vernacularName,order",
            "Aglais io,Animalia,Pfauenauge ä,",
            ",,,",
            "Pica pica,NA,,Passeriformes",
            "",
        ]
    )
    first, second = read(write(tmp_path, text, encoding))
    assert (first.row, first.name, first.vernacular, dict(first.hints)) == (
        1,
        "Aglais io",
        "Pfauenauge ä",
        {"kingdom": "Animalia"},
    )
    assert (second.row, second.name, second.vernacular, dict(second.hints)) == (
        2,
        "Pica pica",
        None,
        {"order": "Passeriformes"},
    )


def test_the_name_stays_as_written(tmp_path):
    assert read(write(tmp_path, "scientificName\n Aglais_io \n"))[0].name == " Aglais_io "


def test_a_row_with_hints_but_no_name_is_kept_for_review(tmp_path):
    assert read(write(tmp_path, "scientificName,class\nnan,Insecta\n,Insecta\nNA,Aves\n"))[2].row == 3


@pytest.mark.parametrize(
    "text, says",
    [
        pytest.param("", "is empty", id="empty file"),
        pytest.param("\n\n", "is empty", id="blank lines"),
        pytest.param("scientificName\n", "holds no names", id="header only"),
        pytest.param("name\nAglais io\n", "no column `scientificName`", id="another header"),
        pytest.param("scientificName|kingdom\nAglais io|Animalia\n", "comma, semicolon or tab", id="other separator"),
        pytest.param("scientificName,order,Order\nAglais io,a,b\n", "column 'order' twice", id="column twice"),
        pytest.param("scientificName\nAglais \x00 io\n", "no text table", id="not a text"),
        pytest.param("scientificName,kingdom\nAglais io,(Linnaeus, 1758)\n", "more cells", id="unquoted comma"),
    ],
)
def test_a_broken_list_is_named_with_its_remedy(tmp_path, text, says):
    with pytest.raises(BadTaxaList, match=says):
        read(write(tmp_path, text))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found_in_the_header(tmp_path, separator):
    text = "kingdom,scientificName,scientificNameAuthorship\nAnimalia,Aglais io,Linnaeus\n".replace(",", separator)
    entry = read(write(tmp_path, text))[0]
    assert (entry.name, entry.author, dict(entry.hints)) == ("Aglais io", "Linnaeus", {"kingdom": "Animalia"})


def test_quoted_separators_stay_in_their_cell(tmp_path):
    text = 'sep=;\nscientificName;family\n"Aglais io (Linnaeus; 1758)";Nymphalidae\n'
    entry = read(write(tmp_path, text))[0]
    assert (entry.name, dict(entry.hints)) == ("Aglais io (Linnaeus; 1758)", {"family": "Nymphalidae"})


def test_headers_may_be_spelt_differently_and_lines_may_end_early_or_in_separators(tmp_path):
    text = "Scientific_Name,Kingdom ,vernacular name\nAglais io\nPica pica,Animalia,Magpie,,\n"
    short, long = read(write(tmp_path, text))
    assert (short.name, dict(short.hints), short.vernacular) == ("Aglais io", {}, None)
    assert (long.name, dict(long.hints), long.vernacular) == ("Pica pica", {"kingdom": "Animalia"}, "Magpie")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_accents_survive_every_encoding_of_a_spreadsheet(tmp_path, encoding):
    text = "scientificName,vernacularName\nIsoëtes lacustris,Sumpf–Brachsenkraut ö\n"
    entry = read(write(tmp_path, text, encoding))[0]
    assert (entry.name, entry.vernacular) == ("Isoëtes lacustris", "Sumpf–Brachsenkraut ö")


def test_utf16_of_either_byte_order_is_told_by_its_mark(tmp_path):
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        (tmp_path / "list.csv").write_bytes(mark + "scientificName\nIsoëtes lacustris\n".encode(encoding))
        assert read(tmp_path / "list.csv")[0].name == "Isoëtes lacustris"


def test_lines_of_two_encodings_are_read_each_in_its_own_and_it_is_said(tmp_path, capsys):
    lines = ["scientificName", "Isoëtes lacustris", "Isoëtes echinospora", "Aglais io"]
    (tmp_path / "list.csv").write_bytes(
        b"\n".join(t.encode("cp1252" if n == 2 else "utf-8") for n, t in enumerate(lines))
    )
    assert [entry.name for entry in read(tmp_path / "list.csv")] == lines[1:]
    said = capsys.readouterr().err
    assert "1 of 4 lines are not UTF-8" in said and "(line 3)" in said and "Windows-1252" in said


def test_bytes_of_no_known_encoding_are_named_with_their_line(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"scientificName\nIso\x81tes\n")
    with pytest.raises(BadTaxaList, match="line 2 is neither"):
        read(tmp_path / "list.csv")


def test_a_name_that_stands_there_twice_is_two_rows(tmp_path):
    assert [entry.row for entry in read(write(tmp_path, "scientificName\nAglais io\naglais  io\n"))] == [1, 2]


@pytest.mark.parametrize(
    "name, genus, author, canonical",
    [
        pytest.param("rufipes", "Formica", "", "Formica rufipes", id="an epithet alone takes the genus beside it"),
        pytest.param("rufipes", "", "", "", id="without a genus it is no name"),
        pytest.param("nan", "Formica", "", "", id="an empty cell does not become an epithet"),
        pytest.param("true", "Formica", "", "", id="nor does a truth value"),
        pytest.param("12", "Formica", "", "", id="nor a number"),
        pytest.param("Aglais io", "Inachis", "Linnaeus", "Aglais io", id="a whole name keeps its own genus"),
    ],
)
def test_columns_complete_the_name(tmp_path, name, genus, author, canonical):
    text = f"scientificName,genus,scientificNameAuthorship\n{name},{genus},{author}\n"
    parsed = read(write(tmp_path, text))[0].parsed()
    assert (parsed.canonical, parsed.author, parsed.verbatim) == (canonical, author, name)
    assert bool(parsed.problem) != bool(canonical)


def test_an_author_in_the_name_is_not_overruled_by_its_column(tmp_path):
    text = 'scientificName,scientificNameAuthorship\n"Aglais io Linnaeus",Blume\n'
    assert read(write(tmp_path, text))[0].parsed().author == "Linnaeus"


def test_a_missing_file_names_the_setting(tmp_path):
    with pytest.raises(BadTaxaList, match=r"taxa\.path"):
        read(tmp_path / "none.csv")
