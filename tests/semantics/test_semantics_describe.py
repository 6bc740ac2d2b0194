"""Captions of training images: from the table, from a tiny random captioner, or none."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from taxaforge.files import read_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of
from taxaforge.semantics import blip
from taxaforge.semantics.describe import NoCaptions, describe

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a bird moth blue red wing on leaf branch sits flies small brown with and"
NAMES = [f"image {number}" for number in range(7)]
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3), dtype=np.uint8)


def cfg(captions: str, **changes) -> dict:
    return {
        "name": "sgid",
        "captions": captions,
        "captioner": "",
        "captioner_revision": "main",
        "candidates": 3,
        **changes,
    }


@pytest.fixture
def pack(tmp_path):
    """Writes a pack with these captions; returns its path."""

    def write(captions: list[str]):
        Pack(PIXELS, ["Parus major"], NAMES, np.zeros(7, dtype=np.int64), NAMES, captions).save(tmp_path / "train.npy")
        return tmp_path / "train.npy"

    return write


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    """A folder with a random BLIP that looks at 16 px; as in the published ones, a caption begins with a piece that is no word."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder = tmp_path_factory.mktemp("blip")
    (folder / "vocab.txt").write_text("\n".join([*WORDS.split(), ""]))
    tiny = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "initializer_range": 0.3,
    }
    ids = {"bos_token_id": 20, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={**tiny, **ids, "vocab_size": 21, "encoder_hidden_size": 16, "max_position_embeddings": 40},
        vision_config={**tiny, "image_size": 16, "patch_size": 8},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipProcessor(
        BlipImageProcessor(size={"height": 16, "width": 16}), BertTokenizer.from_pretrained(folder)
    )
    processor.save_pretrained(folder)
    return folder


def said(captioner, seed: int = 1, **changes) -> dict[str, list[str]]:
    asked = {"captioner": str(captioner), "revision": "main", "candidates": 3, "seed": seed, **changes}
    return blip.captions(PIXELS, NAMES, **asked)


def test_the_table_gives_the_captions_that_came_with_the_images(pack, tmp_path):
    told = {}
    train = pack([f" a moth,  {number} spots" for number in range(7)])
    describe(
        train=train, cfg=cfg("table"), seed=0, out=tmp_path / "c.json", log=lambda step, values: told.update(values)
    )
    assert read_json(tmp_path / "c.json") == {name: [f"a moth, {number} spots"] for number, name in enumerate(NAMES)}
    assert told == {"images": 7, "distinct_captions": 7, "words": 4.0}


def test_images_without_a_caption_are_counted_and_the_remedy_is_named(pack, tmp_path):
    train = pack(["", "a bird", " ", "", "", "a bird", "a bird"])
    with pytest.raises(NoCaptions, match=r"sgid .* 4 of 7 .*image 0, image 2, image 3 and 1 more.* blip .* none"):
        describe(train=train, cfg=cfg("table"), seed=0, out=tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()


def test_without_captions_each_image_has_one_empty_one(pack, tmp_path):
    describe(train=pack([""] * 7), cfg=cfg("none"), seed=0, out=tmp_path / "c.json")
    assert read_json(tmp_path / "c.json") == {name: [""] for name in NAMES}
    with pytest.raises(NoCaptions, match=r"'guess' .* none, table, blip"):
        describe(train=pack([""] * 7), cfg=cfg("guess"), seed=0, out=tmp_path / "c.json")


def test_a_captioner_gives_its_candidates_in_words(pack, captioner, tmp_path):
    settings = cfg("blip", captioner=str(captioner))
    for out in ("a.json", "b.json"):
        describe(train=pack([""] * 7), cfg=settings, seed=1, out=tmp_path / out, state_dir=tmp_path / "state")
    found = read_json(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert list(found) == NAMES and all(len(set(texts)) == 3 for texts in found.values())
    words = set(WORDS.split()[5:])
    assert all(
        set(text.split()) <= words and 1 < len(text.split()) <= blip.LONGEST
        for texts in found.values()
        for text in texts
    )
    assert found == said(captioner) != said(captioner, seed=2)
    assert not list((tmp_path / "state").iterdir())


def test_captions_do_not_depend_on_the_batch_and_leave_global_randomness_alone(captioner):
    before = torch.random.get_rng_state()
    together = said(captioner, batch=7)
    assert together == said(captioner, batch=1) == said(captioner, batch=3)
    assert torch.equal(before, torch.random.get_rng_state())
    fewer = said(captioner, candidates=2)
    assert all(fewer[name] == texts[:2] for name, texts in together.items())


def test_a_killed_captioner_goes_on_with_the_batch_it_was_at(captioner, tmp_path, monkeypatch):
    opened, looks = blip.opened, []

    def dying(*args):
        caption = opened(*args)

        def once(pixels, seeds):
            looks.append(len(pixels))
            if len(looks) == 3:
                raise KeyboardInterrupt
            return caption(pixels, seeds)

        return once

    monkeypatch.setattr(blip, "opened", dying)
    with pytest.raises(KeyboardInterrupt):
        said(captioner, batch=2, state_dir=tmp_path)
    resumed = said(captioner, batch=2, state_dir=tmp_path)
    assert looks == [2, 2, 2, 2, 1] and resumed == said(captioner)


def test_finished_captions_of_another_request_are_not_used(captioner, tmp_path, monkeypatch):
    monkeypatch.setattr(blip.shutil, "rmtree", lambda folder: None)  # as if killed before it could tidy up
    said(captioner, state_dir=tmp_path)
    monkeypatch.undo()
    assert said(captioner, seed=2, state_dir=tmp_path) == said(captioner, seed=2)


def one_by_one(captioner, pixels: np.ndarray, seed: int) -> str:
    """A caption of one picture, decoded by hand: piece by piece, without a cache, the nucleus by the library."""
    from transformers import BlipForConditionalGeneration, BlipProcessor, TopPLogitsWarper

    processor, model = (kind.from_pretrained(captioner) for kind in (BlipProcessor, BlipForConditionalGeneration))
    own, ids = torch.Generator().manual_seed(seed), [20]
    with torch.no_grad():
        seen = model.vision_model(processor.image_processor(pixels, return_tensors="pt").pixel_values)[0]
        while len(ids) <= blip.LONGEST and ids[-1] != 3:
            logits = model.text_decoder(torch.tensor([ids]), encoder_hidden_states=seen).logits[:, -1]
            logits[0, 3] = -torch.inf if len(ids) <= blip.SHORTEST else logits[0, 3]
            share, order = TopPLogitsWarper(blip.TOP_P)(None, logits).double().softmax(-1)[0].sort(descending=True)
            draw = torch.rand(1, generator=own, dtype=torch.float64)
            ids.append(order[(share.cumsum(0) <= draw).sum()].item())
    return processor.tokenizer.decode(ids[1:], skip_special_tokens=True)


def test_each_caption_is_that_of_its_own_picture_and_seed(captioner):
    found = said(captioner, batch=7)
    assert len({texts[0] for texts in found.values()}) == 7
    for place in (0, 5):
        for candidate in range(3):
            seed = seed_of(1, "caption", NAMES[place], candidate)
            assert found[NAMES[place]][candidate] == one_by_one(captioner, PIXELS[place], seed)


def test_words_are_drawn_as_often_as_the_library_would_draw_them():
    from transformers import TopPLogitsWarper

    logits = torch.tensor([[2.0, -1.0, 1.5, 0.0, 1.2, -3.0]])
    expected = TopPLogitsWarper(0.85)(None, logits).softmax(-1)[0]
    pick = blip.SeededNucleus(range(6000), 0.85)
    drawn = pick(None, logits.expand(6000, -1)).argmax(-1).bincount(minlength=6) / 6000
    assert (expected == 0).sum() == 3 and torch.equal(drawn == 0, expected == 0)
    assert (drawn - expected).abs().max() < 4 * 0.5 / 6000**0.5


def test_all_words_but_the_drawn_one_are_ruled_out():
    scores = blip.SeededNucleus([1, 2], 0.9)(None, torch.randn(2, 50, generator=torch.Generator().manual_seed(0)))
    assert (scores == 0).sum(1).tolist() == [1, 1] and (scores == -torch.inf).sum(1).tolist() == [49, 49]


@pytest.mark.parametrize("harm, message", [
    pytest.param(lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "cannot be opened", id="pickle alone"),
    pytest.param(lambda folder: (folder / "config.json").unlink(), "cannot be opened", id="no config"),
    pytest.param(lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot be opened", id="damaged"),
    pytest.param(lambda folder: without_one_parameter(folder / "model.safetensors"), "lack 1 param", id="incomplete"),
])  # fmt: skip
def test_a_captioner_that_is_no_good_is_named(captioner, tmp_path, harm, message):
    for file in captioner.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    harm(tmp_path)
    with pytest.raises(blip.NoCaptioner, match=rf"{tmp_path.name}.*{message}"):
        blip.opened(str(tmp_path), "main")


def without_one_parameter(file):
    weights = load_file(file)
    weights.pop("vision_model.post_layernorm.weight")
    save_file(weights, file, metadata={"format": "pt"})
