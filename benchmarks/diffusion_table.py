"""Figures of the training benchmark as a table with bars, and how they were measured."""

import statistics
from collections.abc import Sequence

TITLE = "Training: speed, memory, start-up"
PROPORTION = " At this side for this width, attention and convolution share the work as in SD 1.5 at 512 px."
MOMENTS = {
    "snakemake": "the job unpacked",
    "imported": "everything imported",
    "ready": "the stage built",
    "stepped": "the first step done",
}


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of neighbouring measurements.

    >>> ratios([2.0, 3.0, 8.0], [1.0, 2.0, 2.0])
    (2.0, 1.5, 4.0)
    """
    each = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(each), min(each), max(each)


def spread(found: tuple[float, float, float], form: str) -> str:
    """ "median (smallest to largest)" of ratios."""
    return f"{found[0]:{form}} ({found[1]:{form}} to {found[2]:{form}})"


def row(what: str, ours: str, beside: str, ratio: str = "", bar: str = "", reached: bool | None = None) -> str:
    said = {True: "yes", False: "**no**", None: ""}[reached]
    return f"| {what} | {ours} | {beside} | {ratio} | {bar} | {said} |"


def rate_row(steps: dict) -> str:
    ours, peer = (1 / statistics.median(steps["seconds"][name]) for name in ("ours", "peer"))
    ratio = ratios(steps["seconds"]["peer"], steps["seconds"]["ours"])
    what = "first stage, steps/s; the recipe without caches"
    return row(what, f"{ours:.3g}", f"{peer:.3g}", spread(ratio, ".2f"), "at least 1.5", ratio[0] >= 1.5)


def memory_rows(memory: dict) -> list[str]:
    """The peak; on the CPU also what of it is not the interpreter and its libraries, which has no bar."""
    ours, full = memory["published"], memory["full"]
    share = ours["peak"] / full["peak"]
    what = "later stage, peak MiB; the whole denoiser trained"
    lines = [row(what, f"{ours['peak']:,.0f}", f"{full['peak']:,.0f}", f"{share:.1%}", "at most 60 %", share <= 0.6)]
    if full["imported"]:
        own, its = (one["peak"] - one["imported"] for one in (ours, full))
        lines.append(row("the same without imports, MiB", f"{own:,.0f}", f"{its:,.0f}", f"{own / its:.1%}"))
    return lines


def feed_row(what: str, seconds: dict) -> str:
    """How much of the time of a loop fed from memory is left, in percent of ours."""
    ours, held = (1000 * statistics.median(seconds[name]) for name in ("ours", "memory"))
    ratio = ratios(seconds["memory"], seconds["ours"])
    cells = f"{ours:.1f}", f"{held:.1f}", spread(ratio, ".1%")
    return row(f"{what}, ms a step; from memory", *cells, "at least 95 %", ratio[0] >= 0.95)


def start_row(startup: dict) -> str:
    """Judged by the worst start."""
    worst, ratio = max(startup["ours"]), ratios(startup["ours"], startup["bare"])
    ours, bare = f"{statistics.median(startup['ours']):.2f}, worst {worst:.2f}", statistics.median(startup["bare"])
    what = "start of the default's base stage to its first step, s; libraries alone imported"
    return row(what, ours, f"{bare:.2f}", spread(ratio, ".2f"), "at most 8 s", worst <= 8)


def table(found: dict) -> list[str]:
    lines = ["| figure; beside it | ours | beside | ratio (range) | bar | reached |", "|---" * 6 + "|"]
    if "steps" in found:
        lines.append(rate_row(found["steps"]))
    if "memory" in found:
        lines += memory_rows(found["memory"])
    if "loading" in found:
        lines.append(feed_row("base stage of the default, from its pack", found["loading"]["seconds"]))
    if "steps" in found:
        lines.append(feed_row("first stage, from its latents", found["steps"]["latents"]))
    if "startup" in found:
        lines.append(start_row(found["startup"]))
    if "loading" in found:
        rate = found["loading"]["batch"] / statistics.median(found["loading"]["seconds"]["ours"])
        lines.append(row("base stage of the default, images/s", f"{rate:.0f}", ""))
    return lines


def utilisation(steps: dict, peak_tflops: float) -> float:
    """Share of the device's arithmetic that the first stage's own operations fill."""
    return steps["flop"]["ours"] / statistics.median(steps["seconds"]["ours"]) / (peak_tflops * 1e12)


def on_steps(given: dict, steps: dict) -> str:
    sizes = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in steps["parameters"].items())
    flop, trained = steps["flop"], steps["trained"]
    text = (
        f"*Steps.* A random Stable Diffusion of SD 1.5's structure at {given['width']:g} of its channels ({sizes} parameters), "
        f"{given['size']} px, batch {given['batch']}, {given['precision']}, LoRA of rank 4 on both sides; {given['pairs']} pairs of blocks of "
        f"{given['block']} steps.{PROPORTION if given['size'] ** 2 == 512**2 * given['width'] else ''} Ours reads cached latents and texts and also trains the level's module: {trained['ours']:,} trained "
        f"parameters against {trained['peer']:,}. The recipe (diffusers' text-to-image LoRA example in our words) decodes JPEGs "
        f"({given['workers']} loader processes), tokenises captions, and runs VAE and text encoder in every step. A step is "
        f"{flop['ours'] / 1e9:,.0f} GFLOP for ours and {flop['peer'] / 1e9:,.0f} for the recipe: arithmetic alone would make "
        f"{flop['peer'] / flop['ours']:.2f}. The cache cost {steps['encoding_s']:.2f} s a picture with its mirror image, once."
    )
    if given["peak_tflops"]:
        share = utilisation(steps, given["peak_tflops"])
        text += f" Model FLOP utilisation of ours: **{share:.1%}** of {given['peak_tflops']:g} TFLOP/s."
    return text


def on_memory(given: dict, memory: dict) -> str:
    ours, full = memory["published"], memory["full"]
    millions = [count / 1e6 for count in (ours["trained"], ours["trained"] + ours["frozen"], full["trained"])]
    text = (
        f"*Memory.* The second stage at {given['memory_width']:g} of SD 1.5's channels, {given['size']} px, batch {given['memory_batch']}: "
        f"{millions[0]:.1f} M of {millions[1]:.1f} M parameters train, beside the same stage with `trainable: full`, {millions[2]:.1f} M. "
        "Each in a process of its own, peak after three steps, "
    )
    if given["device"] == "cuda":
        return text + "allocated on the GPU."
    return text + f"resident; imports alone take {full['imported']:,.0f} MiB."


def on_start(given: dict, startup: dict) -> str:
    each = {name: statistics.median(one[name] for one in startup["moments"]) for name in MOMENTS}
    said = ", ".join(f"{what} after {each[name]:.2f} s" for name, what in MOMENTS.items())
    return f"*Start.* `scripts/train_stage.py` as Snakemake starts it, {given['starts']} times: {said}."


def words(found: dict) -> list[str]:
    """How it was measured, a paragraph a part."""
    about = {"steps": on_steps, "memory": on_memory, "startup": on_start}
    return [line for part, say in about.items() if part in found for line in (say(found["given"], found[part]), "")]


def section(found: dict) -> str:
    where = found["machine"]
    head = f"`{found['command']}` at {found['commit']}; {where['name']}, torch {where['torch']}."
    return "\n".join([f"## {title(found)}", "", head, "", *words(found), *table(found)]) + "\n"


def title(found: dict) -> str:
    """One section for the CPU and one for a GPU."""
    return TITLE if found["given"]["device"] == "cpu" else f"{TITLE}, on a GPU"
