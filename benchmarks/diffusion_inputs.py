"""What the training benchmark works on: a random Stable Diffusion of any width, pictures, names, and the loop to beat."""

import io
import json
import math
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from taxaforge.diffusion import pretrained, schedule
from taxaforge.diffusion.codec import AutoencoderCodec
from taxaforge.diffusion.lineages import Lineages, strings_of
from taxaforge.diffusion.lora import TARGETS
from taxaforge.packs import Pack

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BOUNDARY = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
"""What open_clip and transformers call the two tokens around a text."""
SPECIES = 12
"""As many as the embedded default's list has."""


# ---------------------------------------------------------------- a random pipeline


def configs(width: float) -> dict[str, dict]:
    """Configs of UNet, VAE and text encoder: SD 1.5's, with `width` times as many channels, in whole eighths.

    Blocks, layers and the 77 tokens stay; of the UNet's attention the width of a head stays, and their number follows.

    >>> configs(1)["unet"]["block_out_channels"], configs(0.25)["unet"]["block_out_channels"]
    ([320, 640, 1280, 1280], [80, 160, 320, 320])
    """
    eighths = max(1, round(8 * width))
    unet, vae, text = (eighths * channels for channels in (40, 16, 96))
    return {
        "unet": {
            "block_out_channels": [unet * times for times in (1, 2, 4, 4)],
            "cross_attention_dim": text,
            "attention_head_dim": eighths,  # the number of heads, despite its name
            "norm_num_groups": math.gcd(unet, 32),
            "sample_size": 64,
        },
        "vae": {
            "block_out_channels": [vae * times for times in (1, 2, 4, 4)],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": math.gcd(vae, 32),
            "sample_size": 512,
        },
        "text_encoder": {
            "hidden_size": text,
            "intermediate_size": 4 * text,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
            "vocab_size": 49408,
            "hidden_act": "quick_gelu",
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            "pad_token_id": 49407,
        },
    }


def build(part: str, width: float, device: str = "cpu") -> nn.Module:
    """A component with random weights, float32, made on the device."""
    config = configs(width)[part]
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        if part == "text_encoder":
            return transformers.CLIPTextModel(transformers.CLIPTextConfig(**config)).eval().requires_grad_(False)
        kind = diffusers.UNet2DConditionModel if part == "unet" else diffusers.AutoencoderKL
        return kind(**config).eval().requires_grad_(False)


def tokenizer(folder: Path) -> transformers.CLIPTokenizer:
    """CLIP's own, 49,408 pieces, from the vocabulary that open_clip ships."""
    from open_clip.tokenizer import SimpleTokenizer

    bpe = SimpleTokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    rows = {BOUNDARY.get(piece, piece): row for piece, row in bpe.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in bpe.bpe_ranks), ""]
    (folder / "merges.txt").write_text("\n".join(merges), "utf-8")
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token="<|endoftext|>")


class Built:
    """A random pipeline that lies in no folder; stands where a `pretrained.Pipeline` is asked for."""

    def __init__(self, width: float, device: str):
        self.width, self.device = width, device

    def unet(self) -> nn.Module:
        return build("unet", self.width, self.device)

    def noise(self, prediction: str | None = None):
        return schedule.of_checkpoint({**BETAS, "prediction_type": prediction or "epsilon"})

    def images(self, size: int) -> AutoencoderCodec:
        return AutoencoderCodec(build("vae", self.width, self.device), size)

    def weights(self, part: str) -> list[Path]:
        return []


@contextmanager
def pipeline(width: float, device: str, folder: Path | None) -> Iterator[str]:
    """The name under which a training finds a random pipeline: a folder, written if it is not there, or none at all."""
    if folder is None:
        with mock.patch.object(pretrained, "opened", lambda name, revision="main": Built(width, device)):
            yield "random"
        return
    if not folder.exists():
        parts = {part: build(part, width) for part in ("unet", "vae", "text_encoder")}
        diffusers.StableDiffusionPipeline(
            **parts,
            tokenizer=tokenizer(folder.with_name("tokenizer")),
            scheduler=diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    yield str(folder)


# ---------------------------------------------------------------- pictures and names


def pictures(count: int, size: int) -> Pack:
    """Smooth random pictures, which a JPEG holds as it holds photographs."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    pixels = np.stack(
        [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in noise]
    )
    names, label = [f"image {number}" for number in range(count)], np.arange(count) % SPECIES
    return Pack(pixels, [record["species"] for record in records()], names, label, names, [""] * count)


def records() -> list[dict]:
    """Lineages of the invented species: two of a genus, two genera of a family, two families of an order."""
    ranks = {"order": 8, "family": 4, "genus": 2, "species": 1}
    return [{rank: f"{rank.title()} {number // share}" for rank, share in ranks.items()} for number in range(SPECIES)]


def lineages(levels: list[str], length: int, width: int) -> Lineages:
    """Random frozen text (S, length, width) of these lineages' names."""
    strings, rows = strings_of(records(), levels)
    tokens = torch.randn(len(strings), length, width, generator=torch.Generator().manual_seed(0))
    return Lineages(levels, strings, tokens, **{name: torch.tensor(value) for name, value in rows.items()})


# ---------------------------------------------------------------- stages before their first step


def stage_cfg(given: Namespace, pretrained: str, stage: str, **more) -> dict:
    """What the rule gives a stage of a Stable Diffusion, with everything else at its default."""
    from taxaforge.config.settings import load
    from taxaforge.plan import training

    own = {"backbone": "stable-diffusion", "pretrained": pretrained, "batch_size": given.batch, "steps": 1000}
    settings = load({"diffusion": own | {"precision": given.precision} | more, "collection": {"size": given.size}})
    return training.train_stage(settings, {"stage": stage}).settings


def on_disk(given: Namespace, folder: Path) -> Path | None:
    return folder / "pipeline" if given.on_disk else None


def first_stage(given: Namespace, folder: Path) -> None:
    """What the later stage starts from: the pipeline, random latents, and a first stage as it is before any step."""
    from taxaforge.diffusion import stage
    from taxaforge.diffusion.lora import parameters
    from taxaforge.files import write_json

    data = pictures(given.pictures, given.size)
    data.save(folder / "train.npy")
    side = given.size // 8
    values = np.random.default_rng(0).standard_normal((len(data), 2, 4, side, side), dtype=np.float32)
    np.save(folder / "latents.npy", values)
    write_json(folder / "latents.json", {"identifier": data.identifier, "augmentations": ["none", "mirrored"]})
    with pipeline(given.memory_width, "cpu", on_disk(given, folder)) as name:
        cfg = stage_cfg(given, name, "order")
        texts = lineages(cfg["levels"], 77, configs(given.memory_width)["text_encoder"]["hidden_size"])
        texts.save(folder / "texts.safetensors")
        backbone, _ = stage.prepare("order", texts, cfg, 0, None)
        adapters = {f"unet.{name}": value for name, value in parameters(backbone.unet).items()}
        manifest = stage.describe("order", texts, backbone, cfg, 0, None)
        stage.write(folder / "order", backbone, adapters, manifest, None)


def default(given: Namespace, folder: Path) -> dict:
    """The embedded default's base stage: its settings; files of random content and the default's shapes in the folder."""
    from taxaforge.config.settings import dump, load
    from taxaforge.plan import training

    settings = load({"runtime": {"device": given.device, "threads": given.threads}})
    cfg = training.train_stage(settings, {"stage": "base"}).settings
    counts = {"train": settings.protocol.shots, "validation": settings.split.validation}
    for split, shots in counts.items():
        pictures(shots * SPECIES, cfg["size"]).save(folder / f"{split}.npy")
    own = settings.semantics
    lineages(cfg["levels"], own.context_length, own.width).save(folder / "texts.safetensors")
    return {"cfg": cfg, "runtime": dump(settings.runtime), "key": "benchmark"}


# ---------------------------------------------------------------- the loop to beat


class Captioned(Dataset):
    """JPEG files with captions, read as the recipe reads them: decoded, mirrored at random, normalised, tokenised."""

    def __init__(self, data: Pack, words: transformers.CLIPTokenizer):
        self.words, self.files = words, [_jpeg(one) for one in data.pixels]
        named = [", ".join(f"{rank}: {name}" for rank, name in record.items()) for record in records()]
        self.captions = [named[label] for label in data.label]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Picture (3, H, W) in -1..1, token ids (77,)."""
        with Image.open(io.BytesIO(self.files[number])) as image:
            picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
        if torch.rand(()) < 0.5:
            picture = picture.flip(-1)
        padded = {"padding": "max_length", "max_length": 77, "truncation": True, "return_tensors": "pt"}
        return picture, self.words(self.captions[number], **padded).input_ids[0]


def _jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


class Reference:
    """LoRA on captions as diffusers' text-to-image example trains it, in our words: nothing is kept from step to step.

    Rank 4 on the attention projections, AdamW, clipped at 1, frozen parts in the precision of the run.
    """

    def __init__(self, given: Namespace, data: Pack, folder: Path):
        from peft import LoraConfig

        self.device, self.dtype = given.device, torch.bfloat16 if given.precision == "bf16" else torch.float32
        self.unet, self.vae, self.text = (
            build(part, given.width, given.device).to(self.dtype) for part in ("unet", "vae", "text_encoder")
        )
        self.unet.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=TARGETS))
        self.trained = [value for value in self.unet.parameters() if value.requires_grad]
        for value in self.trained:
            value.data = value.data.float()
        self.unet.train()
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-4, weight_decay=1e-2)
        self.noise = diffusers.DDPMScheduler(**BETAS)
        loader = DataLoader(
            Captioned(data, tokenizer(folder / "tokenizer")),
            given.batch,
            shuffle=True,
            drop_last=True,
            num_workers=given.workers,
            persistent_workers=given.workers > 0,
        )
        self.batches = (batch for _ in iter(int, 1) for batch in loader)

    def advance(self) -> None:
        """One step. What is drawn is drawn on the device."""
        pixels, ids = next(self.batches)
        with torch.no_grad():
            latents = self.vae.encode(pixels.to(self.device, self.dtype)).latent_dist.sample()
            latents = latents * self.vae.config.scaling_factor
            said = self.text(ids.to(self.device)).last_hidden_state
        eps = torch.randn_like(latents)
        t = torch.randint(0, self.noise.config.num_train_timesteps, (len(latents),), device=self.device)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            found = self.unet(self.noise.add_noise(latents, eps, t), t, said).sample
        loss = nn.functional.mse_loss(found.float(), eps.float())
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        loss.item()  # what its progress bar shows
