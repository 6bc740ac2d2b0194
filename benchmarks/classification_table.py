"""Figures of the classification benchmark as a table with bars, and how they were measured."""

import statistics

from diffusion_table import ratios, row, spread

TITLE = "Classifiers: many small trainings"
PEERS = {"loader": "timm's loop and loader", "memory": "timm's loop, tensors in memory, no augmentation"}


def probe_rows(probe: dict) -> list[str]:
    walls = [one["wall"] for one in probe["warm"]]
    wall = statistics.median(walls)
    said = f"{wall:.2f} ({min(walls):.2f} to {max(walls):.2f})"
    more = statistics.median(probe["three"]["repeats"][1:])
    return [
        row(
            "linear probe, s a process; features not kept yet",
            said,
            f"{probe['cold']['wall']:.2f}",
            "",
            "at most 6",
            wall <= 6,
        ),
        row("one more repeat in the process, s", f"{more:.2f}", ""),
    ]


def rate_rows(found: dict) -> list[str]:
    """Images a second. The loop that does what ours does is the bar; feeding it from memory is what it could be."""
    lines = []
    for peer, words in PEERS.items():
        ours, beside = (found["images"] / statistics.median(found["seconds"][name]) for name in ("ours", peer))
        ratio = ratios(found["seconds"][peer], found["seconds"]["ours"])
        bar = ("at least 1", ratio[0] >= 1) if peer == "loader" else ()
        what = f"{found['model']} at {found['size']} px, images/s; {words}"
        lines.append(row(what, f"{ours:.3g}", f"{beside:.3g}", spread(ratio, ".2f"), *bar))
    return lines


def startup_row(startup: dict) -> str:
    ours, bare = (statistics.median(startup["seconds"][name]) for name in ("ours", "bare"))
    ratio = ratios(startup["seconds"]["ours"], startup["seconds"]["bare"])
    return row("imports of a training, s; torch and timm", f"{ours:.2f}", f"{bare:.2f}", spread(ratio, ".2f"))


def table(found: dict) -> list[str]:
    lines = ["| figure; beside it | ours | beside | ratio (range) | bar | reached |", "|---" * 6 + "|"]
    if "probe" in found:
        lines += probe_rows(found["probe"])
    for part in ("small", "large"):
        if part in found:
            lines += rate_rows(found[part])
    if "startup" in found:
        lines.append(startup_row(found["startup"]))
    return lines


def on_probe(given: dict, probe: dict) -> str:
    imports = statistics.median(one["imported"] for one in probe["warm"])
    weights = "published" if given["pretrained"] else "fresh"
    return (
        f"*Linear probe.* `{given['model']}` with {weights} weights at {given['size']} px, {given['species']} species with "
        f"{given['real']} real and {given['synthetic']} synthetic images each, {given['views']} augmented looks at each image, "
        "four weight decays to choose from. From the start of the process to its end; of this, imports take "
        f"{imports:.2f} s. Median of {len(probe['warm'])} processes."
    )


def on_rates(given: dict) -> str:
    return (
        f"*Full training.* Batch {given['batch']}, AdamW, label smoothing, channels last, the same model; "
        f"{given['pairs']} turns of {given['steps']} steps. Ours is `train.fit` as a job calls it, with the augmentation "
        "`standard` and one look at validation a turn; timm's loop has its optimiser, loss and schedule, its loader "
        f"({given['workers']} processes) with its standard augmentation, and no validation."
    )


def words(found: dict) -> list[str]:
    """How it was measured, a paragraph a part."""
    said = [on_probe(found["given"], found["probe"])] if "probe" in found else []
    said += [on_rates(found["given"])] if "small" in found or "large" in found else []
    return [line for text in said for line in (text, "")]


def section(found: dict) -> str:
    where = found["machine"]
    head = f"`{found['command']}` at {found['commit']}; {where['name']}, torch {where['torch']}."
    return "\n".join([f"## {title(found)}", "", head, "", *words(found), *table(found)]) + "\n"


def title(found: dict) -> str:
    """One section for the CPU and one for a GPU."""
    return TITLE if found["given"]["device"] == "cpu" else f"{TITLE}, on a GPU"
