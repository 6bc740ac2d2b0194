"""Learns a token for each species that makes its images recognisable: the first half of DIG-ZSL.

`learn` takes all species through the same updates together; each stops for itself. What comes out are prompts,
"<level>: S* <name>", encoded once, and the tokens as `load_textual_inversion` of diffusers reads them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion.checkpoint import State, Stopped, opened, stop_flag
from taxaforge.diffusion.lineages import UNKNOWN
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, sha256_of, write_lines
from taxaforge.guidance import splice
from taxaforge.guidance.learning import EVERY, Learning
from taxaforge.guidance.lesson import Lesson
from taxaforge.guidance.prompts import Encoder, Prompts
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.semantics import discriminator as discriminators

SHOWN = "S*"

Log = Callable[[int | None, dict[str, float]], None]


class NothingToLearn(TaxaforgeError):
    """No species is to have a token."""


class SeenInstead(TaxaforgeError):
    """A species counts as unseen here, and its images were used elsewhere."""


def learn(
    *,
    model: str | Path,
    texts: str | Path,
    discriminator: str | Path,
    semantics: str | Path,
    classes: str | Path,
    train: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    state_dir: str | Path | None = None,
    log: Log = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
    micro_batch: int = 64,
) -> None:
    """Writes the folder `out`: Prompts by species, tokens/<species>.safetensors and history.jsonl.

    Facts of a species: `prompt`; `updates` made; `kept`, the update whose token was best; `top1`, the share of held-out
    images that the discriminator then recognised.

    Args:
        model, texts: the last stage and its frozen text. discriminator: of `semantics.discriminator`, trained on
            the same images. semantics: the image-text model. train: pack that says which species have images.
        cfg: of a `dig_zsl` method, its `name` included.
        state_dir: keeps what was learned; killed, it goes on from there to the same bytes.
        log: told `loss`, `top1` and how many are `learning` after an update; at the end means over species.
        micro_batch: images drawn at once; another one changes tokens by rounding only.
    Raises: NothingToLearn; SeenInstead; splice.NoPlace; lesson.NotLearned; Stopped after a signal.
    """
    lesson = prepared(
        model=model,
        texts=texts,
        discriminator=discriminator,
        semantics=semantics,
        classes=classes,
        train=train,
        cfg=cfg,
        seed=seed,
        device=device,
    )
    made_of = {"seed": seed, "cfg": cfg, "species": lesson.species, "from": _digests(model, texts, discriminator)}
    with _state(state_dir, made_of) as state, stop_flag() as stop:
        learning = Learning(lesson)
        if state and (saved := state.load()):
            learning.restore(*saved)
        _follow(learning, state, stop, log, every_s, micro_batch)
        _write(out, learning, micro_batch)
        log(None, learning.figures())


def prepared(
    *,
    model: str | Path,
    texts: str | Path,
    discriminator: str | Path,
    semantics: str | Path,
    classes: str | Path,
    train: str | Path,
    cfg: dict,
    seed: int,
    device: str = "cpu",
) -> Lesson:
    """What tokens are learned on, opened from its files; arguments as of `learn`."""
    records, data = read_json(classes), Pack.load(train)
    species = [record["species"] for record in records]
    manifest = read_json(Path(model) / backbones.MANIFEST)
    with torch.random.fork_rng(devices=[]):  # libraries draw first weights before they read the saved ones
        judge = discriminators.load(discriminator, semantics, device)
        encoder = Encoder.opened(texts, manifest["backbone"], semantics, manifest["pretrained"], manifest["revision"])
        backbone = backbones.load(model, texts=texts, device=device)
        tower = splice.opened(encoder.tower, device)
    unseen = unseen_species(data, species, judge)
    chosen = [label for label, name in enumerate(species) if cfg["species"] == "all" or name in unseen]
    if not chosen:
        raise NothingToLearn(
            f"Method {cfg['name']} learns tokens of species without training images (`species: unseen`), and each has "
            f"some. Set `species: all` for {cfg['name']} in guidance.recipes, or protocol.kind to zero_shot."
        )
    level = backbone.levels[-1]
    prompts = [f"{level}: {splice.TOKEN} {records[label].get(level) or UNKNOWN}" for label in chosen]
    text = splice.Spliced(tower, prompts, cfg["start"], encoder.affine)
    label = torch.tensor(chosen, device=backbone.device)
    among_themselves = cfg["species"] == "unseen" and len(chosen) > 1  # a single one would always be recognised
    rivals = label if among_themselves else torch.arange(len(species), device=backbone.device)
    return Lesson(backbone, judge, text, [species[place] for place in chosen], label, rivals, cfg, seed)


def unseen_species(data: Pack, species: Sequence[str], judge: discriminators.Discriminator) -> set[str]:
    """Species without an image in the training pack.

    Raises: SeenInstead where the discriminator was trained on images of other species than the pack has, or pack or
    discriminator are of other classes.
    """
    for other, classes in (("training pack", data.classes), ("discriminator", judge.classes)):
        if list(classes) != list(species):
            raise SeenInstead(f"The {other} has other classes than classes.json. Delete it and run again.")
    seen = {species[label] for label in set(data.label.tolist())}
    if strange := sorted(seen.symmetric_difference(judge.seen)):
        where = "the training pack" if strange[0] in seen else "what the discriminator was trained on"
        raise SeenInstead(
            f"{strange[0]} has images in {where} and none in the other, so what is unseen is not the same for both. "
            "Look which images changed; then delete results/guidance/discriminator and run again."
        )
    return set(species) - seen


def _follow(learning: Learning, state: State | None, stop, log: Log, every_s: float, at_once: int) -> None:
    """Updates and looks in turn, until every species is done or the updates are used up."""
    cfg, name = learning.lesson.cfg, learning.lesson.cfg["name"]
    total, saved = cfg["updates"] * cfg["images"] * len(learning.tokens), True
    progress = Progress(f"{name}: tokens", total, "images", _drawn(learning), every_s)

    def show(images: int) -> None:
        show.done += images
        progress(show.done)

    while True:
        show.done = _drawn(learning)
        if learning.update % EVERY == 0 or learning.update == cfg["updates"]:
            learning.look(at_once, show)
        left = len(learning.places)
        if not left or learning.update == cfg["updates"]:
            break
        if stop.is_set():
            if state:
                state.note("stopped", learning.update)
            raise Stopped(
                f"Method {name} was asked to stop; update {learning.update} of {cfg['updates']} "
                f"{'is saved' if state and saved else 'is not saved'}. Run again to go on."
            )
        show.done = _drawn(learning)
        loss = learning.advance(at_once, show)
        if state:
            saved = state.save(learning.update, *learning.state())
        log(learning.update, {"loss": loss, "learning": left, "top1": learning.figures()["top1"]})
    progress(total)


def _drawn(learning: Learning) -> int:
    """Images that need no more be drawn for updates: those of species that are done count as drawn."""
    cfg = learning.lesson.cfg
    updates = sum(cfg["updates"] if standing.done else learning.update for standing in learning.standing)
    return updates * cfg["images"]


@torch.no_grad()
def _write(out: str | Path, learning: Learning, at_once: int) -> None:
    lesson, text = learning.lesson, learning.lesson.text
    shown = [prompt.replace(splice.TOKEN, SHOWN) for prompt in text.prompts]
    everyone = torch.arange(len(shown), device=lesson.backbone.device)
    read = [text(learning.best[part], part) for part in everyone.split(at_once)]
    tokens = torch.cat([part for part, _ in read]).float().cpu()
    pooled = None if read[0][1] is None else torch.cat([part for _, part in read]).float().cpu()
    facts = {
        name: {"prompt": prompt, "updates": standing.updates, "kept": standing.kept, "top1": standing.top1}
        for name, prompt, standing in zip(lesson.species, shown, learning.standing, strict=True)
    }
    row = {name: place for place, name in enumerate(lesson.species)}
    with atomic(out) as folder:
        Prompts(shown, tokens, row, pooled, facts).save(folder)
        (folder / "tokens").mkdir()
        for name, best in zip(lesson.species, learning.best.cpu(), strict=True):
            stem = re.sub(r"[^\w.-]+", "_", name)
            (folder / "tokens" / f"{stem}.safetensors").write_bytes(save(text.layout(best.clone(), token_name(name))))
        write_lines(folder / "history.jsonl", learning.history)


def token_name(species: str) -> str:
    """What a species' token is called in prompts of other programs.

    >>> token_name("Parus major")
    '<taxaforge-parus-major>'
    """
    return f"<taxaforge-{re.sub(r'[^a-z0-9]+', '-', species.lower()).strip('-')}>"


@contextmanager
def _state(folder: str | Path | None, made_of: dict) -> Iterator[State | None]:
    if folder is None:
        yield None
        return
    with opened(folder, made_of) as state:
        yield state


def _digests(model: str | Path, texts: str | Path, discriminator: str | Path) -> list[str]:
    """Of the weights that tokens depend on; the discriminator's pin the image-text model's, see its `load`."""
    files = [file for folder in (model, discriminator) for file in sorted(Path(folder).rglob("*.safetensors"))]
    return [sha256_of(file) for file in (*files, Path(texts))]
