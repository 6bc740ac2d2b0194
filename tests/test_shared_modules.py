"""files, seeds, packs, tables, progress: what every room stands on."""

import io

import numpy as np
import pytest

from taxaforge import progress, tables
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_lines, write_json, write_lines
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of
from taxaforge.tables import BrokenContract, Column, Schema


def test_an_error_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for content in ("one", "two"):
        with atomic(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]


def test_nan_is_refused_in_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_an_unfinished_last_line_is_not_read(tmp_path):
    path = tmp_path / "events.jsonl"
    write_lines(path, [{"step": 1}, {"step": 2}])
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


def test_seeds_are_those_of_sha256_and_differ_by_every_part():
    # printf '0|image|Aglais io|3' | sha256sum begins with these 16 digits
    assert seed_of(0, "image", "Aglais io", 3) == 0x793BF1ADEEC266C8 >> 1
    assert len({seed_of(0, "image", "Aglais io", i) for i in range(1000)}) == 1000
    assert 0 <= seed_of("x") < 2**63


def toy_pack(n=3) -> Pack:
    pixels = np.arange(n * 4 * 4 * 3, dtype=np.uint8).reshape(n, 4, 4, 3)
    names = [f"i{k}" for k in range(n)]
    return Pack(pixels, ["Aglais io", "Apis mellifera"], names, np.arange(n) % 2, names, [""] * n)


def test_a_pack_comes_back_as_it_was(tmp_path):
    pack = toy_pack()
    pack.save(tmp_path / "train.npy")
    again = Pack.load(tmp_path / "train.npy")
    assert isinstance(again.pixels, np.memmap)
    np.testing.assert_array_equal(again.pixels, pack.pixels)
    np.testing.assert_array_equal(again.label, pack.label)
    assert (again.classes, again.identifier, again.group) == (pack.classes, pack.identifier, pack.group)


def test_pixels_and_labels_that_do_not_belong_together_are_refused(tmp_path):
    toy_pack(3).save(tmp_path / "a.npy")
    toy_pack(2).save(tmp_path / "b.npy")
    (tmp_path / "b.json").replace(tmp_path / "a.json")
    with pytest.raises(TaxaforgeError, match="differ in length"):
        Pack.load(tmp_path / "a.npy")


SCHEMA = Schema(
    "birds", ("name",), {
        "name": Column("string", "accepted name"),
        "wing": Column("float64", "length in mm", nullable=True),
        "seen": Column("int64", "individuals"),
        "rare": Column("bool", "on the red list"),
    },
)  # fmt: skip
ROWS = [
    {"name": "Parus major", "wing": 74.5, "seen": 3, "rare": False, "note": "extra"},
    {"name": "Turdus, merula\n", "wing": None, "seen": 0, "rare": True, "note": ""},
]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table_comes_back_with_its_types(tmp_path, suffix):
    tables.write(SCHEMA, ROWS, tmp_path / f"birds.{suffix}")
    assert tables.read(SCHEMA, tmp_path / f"birds.{suffix}") == ROWS


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_empty_table_keeps_its_columns(tmp_path, suffix):
    path = tmp_path / f"birds.{suffix}"
    tables.write(SCHEMA, [], path)
    assert tables.read(SCHEMA, path) == []
    assert b"wing" in path.read_bytes()


@pytest.mark.parametrize("change, message", [
    pytest.param({"seen": None}, "'seen' is empty in row 1", id="nothing where something must be"),
    pytest.param({"seen": "3"}, "expected int64", id="wrong type"),
    pytest.param({"name": "Turdus, merula\n"}, "appears twice", id="key repeated"),
])  # fmt: skip
def test_a_table_that_breaks_its_contract_is_not_written(tmp_path, change, message):
    with pytest.raises(BrokenContract, match=message):
        tables.write(SCHEMA, [{**ROWS[0], **change}, ROWS[1]], tmp_path / "birds.parquet")
    assert not list(tmp_path.iterdir())


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(BrokenContract, match="no column 'rare'"):
        tables.write(SCHEMA, [{"name": "a", "wing": 1.0, "seen": 1}], tmp_path / "birds.csv")


def test_a_hand_edited_number_is_named_with_its_meaning(tmp_path):
    (tmp_path / "birds.csv").write_text("name,wing,seen,rare\nParus major,long,1,True\n")
    with pytest.raises(BrokenContract, match=r"'wing' is 'long', expected float64 \(length in mm\)"):
        tables.read(SCHEMA, tmp_path / "birds.csv")


def test_progress_counts_only_what_this_process_did(capsys):
    time = iter([0.0, 10.0, 30.0])
    show = progress.Progress("stage genus", 400, "steps", start=100, every_s=5, now=lambda: next(time))
    show(200, loss=0.25)
    show(400)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stage genus: 200/400 steps (50%), 10 steps/s, 0:20 left, loss 0.25"
    assert lines[1].startswith("stage genus: 400/400 steps (100%), 10 steps/s, 0:00 left")


def test_progress_is_shown_on_the_terminal_too_where_a_job_is_alone():
    terminal = io.StringIO()
    progress.echo_to(terminal)
    try:
        progress.Progress("a", 1, "images")(1)
    finally:
        progress.echo_to(None)
    assert terminal.getvalue().startswith("a: 1/1 images")
