"""Figures of the guidance benchmark as a table with bars, and how they were measured."""

import statistics

from diffusion_table import ratios, row, spread

TITLE = "Guidance: images per second beside stock pipelines"


def rate_row(what: str, found: dict, batch: int, bar: float, peer: str = "peer") -> str:
    """Images a second of ours and of a peer; the ratio is how many times faster ours is."""
    ours, beside = (batch / statistics.median(found["seconds"][name]) for name in ("ours", peer))
    ratio = ratios(found["seconds"][peer], found["seconds"]["ours"])
    return row(what, f"{ours:.3g}", f"{beside:.3g}", spread(ratio, ".2f"), f"at least {bar:g}", ratio[0] >= bar)


def higfa_rows(higfa: dict, batch: int) -> list[str]:
    """Seconds a batch, whose ratio has a bar; and plain contour guidance of both sides, which has none."""
    seconds = higfa["seconds"]
    lines = []
    for peer, what in (("plain", "ours without the classifier"), ("peer", "stock ControlNet pipeline")):
        ours, beside = (statistics.median(seconds[name]) / batch for name in ("ours", peer))
        ratio = ratios(seconds["ours"], seconds[peer])
        cells = f"{ours:.3g}", f"{beside:.3g}", spread(ratio, ".2f")
        bar = ("at most 1.7", ratio[0] <= 1.7) if peer == "plain" else ()
        lines.append(row(f"HiGFA, s an image; {what}", *cells, *bar))
    return lines


def tokens_row(where: str, found: dict) -> str:
    ours, beside = (statistics.median(found["seconds"][name]) for name in ("ours", "peer"))
    ratio = ratios(found["seconds"]["peer"], found["seconds"]["ours"])
    what = f"DIG-ZSL, {where}, s an update of {found['images']} images; one image a step"
    return row(what, f"{ours:.3g}", f"{beside:.3g}", spread(ratio, ".2f"), "at least 3", ratio[0] >= 3)


def table(found: dict) -> list[str]:
    batch = found["given"]["batch"]
    lines = ["| figure; beside it | ours | beside | ratio (range) | bar | reached |", "|---" * 6 + "|"]
    if "used" in found:
        lines.append(rate_row("as used, images/s; stock pipeline", found["used"], batch, 1.2))
    if "same" in found:
        lines.append(rate_row("same arithmetic, images/s; stock pipeline", found["same"], batch, 1.0))
    if "higfa" in found:
        lines += higfa_rows(found["higfa"], batch)
    for part, where in (("tokens_small", "embedded default"), ("tokens_sd", "Stable Diffusion")):
        if part in found:
            lines.append(tokens_row(where, found[part]))
    return lines


def on_used(given: dict, used: dict) -> str:
    sizes = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in used["parameters"].items())
    flop = used["flop"]
    return (
        f"*As used.* A random Stable Diffusion of SD 1.5's structure at {given['width']:g} of its channels ({sizes} "
        f"parameters), {given['size']} px, batch {given['batch']}, {given['steps']} steps of DDIM, scale 3, "
        f"{given['precision']}; {given['pairs']} turns. Ours reads cached tokens, has the condition and the null condition "
        f"in one batch, and guides in u = {given['interval'][0]:g} to {given['interval'][1]:g} alone; the stock pipeline "
        f"reads its prompts at every call and guides at every step. An image is {flop['ours'] / 1e9:,.0f} GFLOP for ours "
        f"and {flop['peer'] / 1e9:,.0f} for the stock pipeline: arithmetic alone would make {flop['peer'] / flop['ours']:.2f}."
    )


def on_same(given: dict, same: dict) -> str:
    return (
        "*Same arithmetic.* Guidance at every step, conditions handed to the stock pipeline, the same noise. Largest "
        f"difference of the latents after {given['steps']} steps: {same['difference']:.1e} of the largest value."
    )


def on_higfa(given: dict, higfa: dict) -> str:
    once = ", ".join(f"{name} {count / 1e9:.3g}" for name, count in higfa["once"].items())
    flop = higfa["flop"]
    return (
        f"*HiGFA.* Cheap gradient, split {higfa['split']:g}; without its classifier it is strength 0 at constant "
        f"scale and contour. The guide is `{given['guide']}` ({higfa['weights'] / 1e6:.1f} M weights) at {given['guide_size']} px. "
        f"GFLOP of one pass, forwards: {once}. Arithmetic alone would make {flop['ours'] / flop['plain']:.2f}."
    )


def on_tokens(given: dict, found: dict) -> str:
    parts = {"tokens_small": "embedded default (32 px)", "tokens_sd": f"Stable Diffusion ({given['size']} px)"}
    said = [
        f"{where}, {found[part]['at_once']} images at once, {found[part]['difference']:.1e}"
        for part, where in parts.items()
        if part in found
    ]
    return (
        f"*DIG-ZSL.* One update of 12 tokens, {given['token_images']} images a species, {given['token_steps']} denoising steps; "
        "the same noise, steps and number of updates on both sides, the gradient through one step. Largest difference "
        f"of the gradients, in shares of the largest value: {'; '.join(said)}."
    )


def words(found: dict) -> list[str]:
    """How it was measured, a paragraph a part."""
    about = {"used": on_used, "same": on_same, "higfa": on_higfa}
    said = [say(found["given"], found[part]) for part, say in about.items() if part in found]
    if "tokens_small" in found or "tokens_sd" in found:
        said.append(on_tokens(found["given"], found))
    return [line for text in said for line in (text, "")]


def section(found: dict) -> str:
    where = found["machine"]
    head = f"`{found['command']}` at {found['commit']}; {where['name']}, torch {where['torch']}."
    return "\n".join([f"## {title(found)}", "", head, "", *words(found), *table(found)]) + "\n"


def title(found: dict) -> str:
    """One section for the CPU and one for a GPU."""
    return TITLE if found["given"]["device"] == "cpu" else f"{TITLE}, on a GPU"
