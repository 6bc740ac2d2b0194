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
        pytest.param("scientificName;kingdom\nAglais io;Animalia\n", "commas", id="semicolons"),
        pytest.param("scientificName\nAglais io\naglais  io\n", "twice, as names 1 and 2", id="duplicate"),
        pytest.param("scientificName,kingdom\nAglais io,(Linnaeus, 1758)\n", "more cells", id="unquoted comma"),
    ],
)
def test_a_broken_list_is_named_with_its_remedy(tmp_path, text, says):
    with pytest.raises(BadTaxaList, match=says):
        read(write(tmp_path, text))


def test_another_encoding_is_named_not_guessed(tmp_path):
    with pytest.raises(BadTaxaList, match="not UTF-8"):
        read(write(tmp_path, "scientificName,vernacularName\nAglais io,Schönling\n", "latin-1"))


def test_a_missing_file_names_the_setting(tmp_path):
    with pytest.raises(BadTaxaList, match=r"taxa\.path"):
        read(tmp_path / "none.csv")
