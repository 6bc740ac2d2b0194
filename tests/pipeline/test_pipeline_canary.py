"""The search for traces of test images finds every trace that is planted, and nothing where there is none."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.packs import Pack

NAMES = [f"sim:col:{k}:{k}7" for k in range(4)]


@pytest.fixture
def world(tmp_path):
    """Four test images, others beside them, and a folder with files that have no trace of the former."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    pixels[4:, 8] = pixels[:8, 8]  # other images have the middle row of the test images
    images, others = dict(zip(NAMES, pixels[:4], strict=True)), pixels[4:]
    folder = tmp_path / "results"
    names = [f"sim:col:{k}:{k}77" for k in range(8)]  # a test image's name is the beginning of theirs
    Pack(others, ["A a"], names, np.zeros(8, int), names, [""] * 8).save(folder / "packs/train.npy")
    (folder / "texts.json").write_text(json.dumps({"identifier": names}))
    np.save(folder / "latents.npy", others.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
    Image.fromarray(others[0]).save(folder / "drawn.png")
    return folder, images, others


def test_nothing_is_found_where_there_is_nothing(world, traces):
    folder, images, others = world
    assert traces(folder, images, others, "nowhere") == set()


def row(name):
    return {
        "identifier": name,
        "true": "A a",
        "predicted": "A a",
        "probability": 1.0,
        "probabilities": [1.0],
        "group": "g",
    }


PLANTED = {
    "captions.json": (lambda path, name, image: path.write_text(json.dumps({name: "a moth"})), "name"),
    "table.parquet": (lambda path, name, image: tables.write(PREDICTIONS, [row(name)], path), "name"),
    "table.csv": (lambda path, name, image: path.write_text(f"identifier,x\n{name},1\n"), "name"),
    "job.log": (lambda path, name, image: path.write_text(f"worst image: {name}."), "name"),
    "pack.npy": (lambda path, name, image: np.save(path, image[None]), "pixels"),
    "mirrored.npy": (lambda path, name, image: np.save(path, image[:, ::-1]), "pixels"),
    "unit.npy": (lambda path, name, image: np.save(path, (image / np.float32(127.5) - 1)[None]), "pixels"),
    "channels.npy": (
        lambda path, name, image: np.save(
            path, np.ascontiguousarray((image / np.float32(127.5) - 1).transpose(2, 0, 1))
        ),
        "pixels",
    ),
    "sheet.png": (lambda path, name, image: Image.fromarray(np.hstack([image // 2, image])).save(path), "pixels"),
    "shard.npz": (lambda path, name, image: np.savez_compressed(path, images=image), "pixels"),
}


@pytest.mark.parametrize("file", PLANTED)
@pytest.mark.parametrize("which", [0, 3])
def test_a_planted_trace_is_found_where_it_is(world, traces, file, which):
    folder, images, others = world
    plant, kind = PLANTED[file]
    plant(folder / file, NAMES[which], images[NAMES[which]])
    assert traces(folder, images, others, "nowhere") == {(file, kind)}
    assert traces(folder, images, others, f"^{file}$") == set()


def test_a_trace_in_an_archive_is_found(world, traces):
    folder, images, others = world
    Image.fromarray(images[NAMES[1]]).save(folder / "a.png")
    with zipfile.ZipFile(folder / "artifacts.zip", "w") as archive:
        archive.write(folder / "a.png", "pictures/a.png")
    (folder / "a.png").unlink()
    assert traces(folder, images, others, "nowhere") == {("artifacts.zip", "pixels")}
