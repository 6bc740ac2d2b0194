"""Drawing beside its peers: images a second, the cost of a classifier's gradient, token learning in batches.

    python benchmarks/guidance.py --write
    python benchmarks/guidance.py --device cuda --width 1 --size 512 --precision bf16 --keep gpu.json
    python benchmarks/guidance.py --read gpu.json --write        # the page, from figures measured elsewhere

The generators are random: a Stable Diffusion of SD 1.5's structure at `--width` times its channels, and the embedded
default's. Every part runs in a process of its own; what is compared alternates in one process, so that a busy machine
slows both. Writes its section of docs/benchmarks.md anew and leaves the others.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from diffusion import alone, alternate, publish, waiting
from guidance_table import section, title

from rules import ROOT, commit_of

PARTS = ("used", "same", "higfa", "tokens_small", "tokens_sd")
NOT_FIGURES = ("keep", "read", "write")


def machine(given: Namespace) -> dict:
    import torch

    cores = f"{given.threads} thread{'s' if given.threads > 1 else ''}, {platform.machine()}"
    return {"name": torch.cuda.get_device_name() if given.device == "cuda" else cores, "torch": torch.__version__}


def precision(given: Namespace) -> AbstractContextManager:
    """Autocast for both sides of a comparison."""
    import torch

    return torch.autocast(given.device, torch.bfloat16, enabled=given.precision == "bf16")


def counted(loops: dict[str, Callable[[], object]]) -> dict[str, int]:
    """FLOP of each loop, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    flop = {}
    for name, loop in loops.items():
        with FlopCounterMode(display=False) as counter:
            loop()
        flop[name] = counter.get_total_flops()
    return flop


def compared(given: Namespace, loops_of: Callable[[int], dict[str, Callable[[], object]]]) -> dict:
    """Seconds of `loops_of(batch)` in turns, and the arithmetic of one image."""
    with precision(given):
        flop = counted(loops_of(1))
        seconds = alternate(loops_of(given.batch), given.pairs, 1, waiting(given))
    return {"seconds": seconds, "flop": flop}


# ---------------------------------------------------------------- parts, each in a process of its own


def used(given: Namespace, folder: Path) -> dict:
    """Classifier-free guidance as each side is used, from names to pixels."""
    import diffusion_inputs
    import guidance_inputs as inputs
    from diffusers import StableDiffusionPipeline

    from taxaforge.guidance.generate import draw

    backbone = inputs.stable_diffusion(given.width, given.size, given.device)
    text = diffusion_inputs.build("text_encoder", given.width, given.device)
    words = diffusion_inputs.tokenizer(folder / "tokenizer")
    peer = inputs.stock(StableDiffusionPipeline, backbone, text, words)
    cfg, aids = inputs.settings("cfg", given, interval=given.interval), inputs.Aids(inputs.records())

    def loops(count: int) -> dict[str, Callable[[], object]]:
        batch = inputs.items(count)
        asked = {"num_inference_steps": given.steps, "guidance_scale": cfg["scale"], "output_type": "np"}
        return {
            "ours": lambda: draw(backbone, batch, cfg, aids, given.device),
            "peer": lambda: peer(
                inputs.prompts(batch),
                height=given.size,
                width=given.size,
                latents=inputs.noise(batch, backbone),
                **asked,
            ),
        }

    sizes = {"UNet": backbone.unet, "VAE": backbone.images.vae, "text encoder": text}
    parameters = {name: sum(value.numel() for value in part.parameters()) for name, part in sizes.items()}
    return {**compared(given, loops), "parameters": parameters}


def same(given: Namespace, folder: Path) -> dict:
    """The same arithmetic on both sides: guidance at every step, conditions handed to the stock pipeline."""
    import guidance_inputs as inputs
    import torch
    from diffusers import StableDiffusionPipeline

    from taxaforge.diffusion.sampler import sample
    from taxaforge.guidance.generate import draw
    from taxaforge.guidance.methods import cfg as method
    from taxaforge.guidance.terms import guided

    backbone = inputs.stable_diffusion(given.width, given.size, given.device)
    peer = inputs.stock(StableDiffusionPipeline, backbone)
    cfg, aids = inputs.settings("cfg", given), inputs.Aids(inputs.records())

    def call(batch: list, kind: str):
        asked = {"num_inference_steps": given.steps, "guidance_scale": cfg["scale"], "output_type": kind}
        return peer(**inputs.spoken(backbone, batch), latents=inputs.noise(batch, backbone), **asked).images

    def loops(count: int) -> dict[str, Callable[[], object]]:
        batch = inputs.items(count)
        return {
            "ours": lambda: draw(backbone, batch, cfg, aids, given.device),
            "peer": lambda: call(batch, "np"),
        }

    found, batch = compared(given, loops), inputs.items(min(4, given.batch))
    with precision(given), torch.no_grad():
        recipe = method.recipe(backbone, batch, cfg, aids)
        z = inputs.noise(batch, backbone)
        z = sample(guided(backbone.predict, recipe.term), z, backbone.native_scheduler(given.steps))
        found["difference"] = inputs.relative(z, call(batch, "latent"))
    return found


def higfa(given: Namespace, folder: Path) -> dict:
    """HiGFA beside what it is without its classifier, drawn by us and by the stock pipeline."""
    import guidance_inputs as inputs
    import torch
    from diffusers import StableDiffusionControlNetPipeline

    from taxaforge.guidance.generate import draw
    from taxaforge.guidance.methods import higfa as method

    backbone = inputs.stable_diffusion(given.width, given.size, given.device)
    aids = inputs.aids(backbone, given)
    peer = inputs.stock(StableDiffusionControlNetPipeline, backbone, controlnet=aids.contour.net)
    cfg = inputs.settings("higfa", given)
    plain = {**cfg, "strength": 0.0, "modulation": "constant"}

    def loops(count: int) -> dict[str, Callable[[], object]]:
        batch = inputs.items(count)
        edge = method.recipe(backbone, batch, cfg, aids).outline.edge
        outline = (edge / 255)[:, None].expand(-1, 3, -1, -1)
        asked = {"num_inference_steps": given.steps, "guidance_scale": cfg["scale"], "output_type": "np"}
        return {
            "ours": lambda: draw(backbone, batch, cfg, aids, given.device),
            "plain": lambda: draw(backbone, batch, plain, aids, given.device),
            "peer": lambda: peer(
                image=outline,
                **inputs.spoken(backbone, batch),
                latents=inputs.noise(batch, backbone),
                controlnet_conditioning_scale=cfg["contour"],
                **asked,
            ),
        }

    with torch.no_grad():
        found = compared(given, loops)
        one, (item,) = {}, inputs.items(1)
        z, t = inputs.noise([item], backbone), torch.full((1,), 500, device=backbone.device)
        seen = torch.zeros(1, 3, given.guide_size, given.guide_size, device=backbone.device)
        one["denoiser"] = lambda: backbone.predict(z, t, backbone.null(1))
        one["adapter"] = lambda: aids.contour.net(z, t, backbone.null(1), aids.contour.condition(torch.zeros(1, given.size, given.size)))  # fmt: skip
        one["decoder"] = lambda: backbone.images.decode(z)
        one["guide"] = lambda: aids.guide.net(seen)
        found["once"] = counted(one)
    weights = sum(value.numel() for value in aids.guide.net.parameters())
    return {**found, "weights": weights, "split": cfg["split"]}


def tokens(given: Namespace, folder: Path, kind: str) -> dict:
    """An update of all tokens with all images in one batch, beside one image a step."""
    import guidance_inputs as inputs
    import torch

    from taxaforge.guidance.learning import Learning

    lesson = inputs.lesson(kind, given, folder)
    everyone = range(len(lesson.species))
    images = len(everyone) * given.token_images
    at_once = {"ours": min(images, given.at_once or images), "peer": 1}
    rows = Learning(lesson).tokens

    def update(count: int) -> Callable[[], list[torch.Tensor]]:
        def loop() -> list[torch.Tensor]:
            for row in rows:
                row.grad = None
            lesson.gradient(rows, everyone, 0, count)
            return [row.grad for row in rows]

        return loop

    loops = {name: update(count) for name, count in at_once.items()}
    with precision(given):
        found = {name: torch.stack(loop()) for name, loop in loops.items()}
        seconds = alternate(loops, given.pairs, 1, waiting(given))
    difference = inputs.relative(found["ours"], found["peer"])
    return {"seconds": seconds, "difference": difference, "images": images, "at_once": at_once["ours"]}


def tokens_small(given: Namespace, folder: Path) -> dict:
    return tokens(given, folder, "small")


def tokens_sd(given: Namespace, folder: Path) -> dict:
    return tokens(given, folder, "stable-diffusion")


WORK = {"used": used, "same": same, "higfa": higfa, "tokens_small": tokens_small, "tokens_sd": tokens_sd}


def keep(given: Namespace, found: dict) -> None:
    """After every part, so that a run that is stopped has told something."""
    if given.keep:
        given.keep.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def measure(given: Namespace) -> dict:
    """All figures, as plain values."""
    found: dict = {"machine": alone(machine, given), "command": given.command, "commit": commit_of(ROOT / "results")}
    found["given"] = {name: value for name, value in vars(given).items() if name not in NOT_FIGURES}
    for part in given.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            found[part] = alone(WORK[part], given, Path(work))
        keep(given, found)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def asked(arguments: Sequence[str]) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--width", type=float, default=0.125, help="share of SD 1.5's channels, in eighths")
    parser.add_argument("--size", type=int, default=64, help="side of the Stable Diffusion's pictures in px")
    parser.add_argument("--batch", type=int, default=16, help="images drawn at once")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast on both sides")
    parser.add_argument("--interval", type=float, nargs=2, default=[0.2, 0.8], help="of our guidance as used")
    parser.add_argument("--guide", help="timm name; default test_resnet, resnet50 from half of SD 1.5's width on")
    parser.add_argument("--guide-size", type=int, help="px that the guide sees; default half of --size, at most 224")
    parser.add_argument("--token-images", type=int, default=4, help="images a species and update")
    parser.add_argument("--token-steps", type=int, default=8, help="denoising steps of an image that is learned from")
    parser.add_argument("--at-once", type=int, default=0, help="images in our batch of an update; 0: all")
    parser.add_argument("--pairs", type=int, default=5, help="turns that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--read", type=Path, help="take the figures from there instead of measuring")
    parser.add_argument("--write", action="store_true", help="put the section on the page")
    given = parser.parse_args(arguments)
    given.command = command(parser, given)
    given.guide = given.guide or ("resnet50" if given.width >= 0.5 else "test_resnet")
    given.guide_size = given.guide_size or min(224, given.size // 2)
    return given


def command(parser: argparse.ArgumentParser, given: Namespace) -> str:
    """What to type for the same figures: options that are not at their default, and no paths."""
    said = ["python benchmarks/guidance.py"]
    for name, value in vars(given).items():
        if name not in NOT_FIGURES and value != parser.get_default(name):
            words = " ".join(map(str, value)) if isinstance(value, list) else value
            said.append(f"--{name.replace('_', '-')} {words}")
    return " ".join(said)


if __name__ == "__main__":
    publish(asked(sys.argv[1:]), measure, section, title)
