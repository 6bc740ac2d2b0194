"""The words of the page: verdicts, evidence, metrics and caveats for a reader who is a biologist."""

from collections.abc import Mapping, Sequence

from taxaforge.report.style import arm_name, listed

VERDICTS = {
    "adopt": ("Adopt", "✓", "Use this method's images: they are shown to help."),
    "inconclusive": ("Inconclusive", "?", "Not settled: neither a benefit nor its absence is shown."),
    "do not use": ("Do not use", "✗", "Leave this method's images out: they do not help enough, or harm."),
}
"""Verdict -> heading, sign, what to do."""

EVIDENCE = {
    "code": "follows code that the method's authors released",
    "standard": "a standard technique, as published",
    "note": "rests on notes about the paper; the authors' code was not available",
    "reconstruction": "reconstructed from a description; may differ from the original",
}
"""Evidence tag of a method's implementation -> what it means."""

METRICS = {
    "recognised": (
        "Share of images whose species an independent classifier (the judge) names correctly. Compare with real: the "
        "judge is not perfect on photographs either. Far above real means caricatures, far below means wrong species."
    ),
    "fd": "Distance between the cloud of generated and the cloud of real images. Lower is better; compare with real only.",
    "kid": "The same question with a measure that suits few images; may be slightly negative. Lower is better.",
    "precision": "Share of generated images that lie where real images lie. Low: implausible images.",
    "recall": "Share of real images that lie where generated images lie. Low: part of the variety is missing.",
    "density": "Like precision, but counts how crowded the surroundings are. Above real: typical images only.",
    "coverage": "Share of real images with a generated image close by. Low: part of the variety is missing.",
    "cmmd": (
        "Distance between mean generated and mean real image for an image-text model. Lower is better. Blind to variety: "
        "read it beside the others, never alone."
    ),
    "vendi": "Effective number of different images a species. Below real: the images repeat each other.",
    "lpips": "How far two images of a species are apart as people see it. Below real: the images resemble each other.",
    "layer_diversity": "The same question asked of a classifier's layers; no LPIPS, its values are its own.",
    "text_alignment": "Likeness of an image to its species' name for an image-text model. Far above real: caricatures.",
    "clip_score": "The same times 100, below zero counted as zero: as papers print it.",
    "species_top1": (
        "Share of images that fit their own species' name better than any other's. The model cannot say “none of them”: "
        "an image without any animal may count."
    ),
    "sibling_margin": "How much better an image fits its own name than that of its best-fitting relative. Below 0: worse.",
    "nearest_train": "Likeness to the most similar training image. Above real hints that training images were copied.",
}
"""Image metric -> how to read it."""


def headline(rows: Sequence[Mapping]) -> str:
    """The answer of the run in one or two sentences. rows: verdicts of scope all."""
    if not rows:
        return "This run compared no method, so it cannot say whether synthetic images help."
    by = {word: [row["method"] for row in rows if row["verdict"] == word] for word in VERDICTS}
    parts = []
    if by["adopt"]:
        parts.append(f"Synthetic images from {listed(by['adopt'])} help this classifier.")
    else:
        parts.append("No synthetic images are shown to help this classifier.")
    if by["do not use"]:
        parts.append(f"Do not use {listed(by['do not use'])}.")
    if by["inconclusive"]:
        parts.append(f"Whether {listed(by['inconclusive'])} helps is not settled.")
    return " ".join(parts)


def recognised(rows: Sequence[Mapping]) -> list[str]:
    """A sentence a method on the share of its images that show their species. rows: images.csv."""
    found = {row["method"]: row for row in rows if row["metric"] == "recognised" and row["scope"] == "all"}
    sentences = []
    for method, row in found.items():
        if method == "real" or row["value"] is None:
            continue
        sentence = f"{method}: the judge names the species in {row['value']:.0%} of {row['n']} kept images"
        if row["low"] is not None:
            sentence += f", that is ≥ {row['low']:.0%} (lower end of the 95% interval)"
        floor = found["real"]["value"] if "real" in found else row["floor"]
        sentences.append(sentence + (f"; for unseen real images it is {floor:.0%}." if floor is not None else "."))
    return sentences


SECONDARY = {
    "brier": "Brier score (lower is better)",
    "nll": "surprise at the truth in nats (lower is better)",
    "lca_height": "ranks up to the common ancestor with the answer (lower is better)",
    "sibling_errors": "share named as another species of the genus (lower is better)",
    "sibling_mass": "probability given to other species of the genus (lower is better)",
    "top5": "share with the truth among the first five (higher is better)",
}
"""Secondary metric -> in words."""


def secondary(rows: Sequence[Mapping]) -> list[dict]:
    """Each row of secondary.csv with its metric in words, against the control of equal steps where it ran."""
    controls = {row["control"] for row in rows}
    fairest = "real-equal-steps" if "real-equal-steps" in controls else "real"
    return [{**row, "told": SECONDARY[row["metric"]]} for row in rows if row["control"] == fairest]


def caveats(
    settings: Mapping, verdicts: Sequence[Mapping], review: Sequence[Mapping], control_names: Mapping[str, str]
) -> list[str]:
    """What a reader must know before trusting the page. verdicts: scope all."""
    told = []
    if settings.get("collection", {}).get("source") == "simulated":
        told.append(
            "All images of this run, those called real included, are simulated: drawn by a computer from made-up traits "
            "that follow the tree. They never depict the species whose names they carry. The run shows that the "
            "workflow works and how it behaves; it says nothing about photographs of these species."
        )
    missing = dict.fromkeys(name for row in verdicts for name in (row["missing_controls"] or "").split("; ") if name)
    if missing:
        words = [f"{arm_name(name)} ({control_names[name]})" if name in control_names else name for name in missing]
        told.append(
            f"Controls that did not run: {'; '.join(words)}. Without them a method cannot be adopted, because a "
            "simpler measure might do as well."
        )
    beside = dict.fromkeys(name for row in verdicts for name in (row.get("missing_beside") or "").split("; ") if name)
    if beside:
        told.append(
            f"Plain generators that did not run beside the others: {listed([arm_name(name) for name in beside])}. A verdict "
            "says whether images help, not whether a simpler way of drawing them would help as much."
        )
    seeds = settings.get("classification", {}).get("seeds")
    runs = len(settings.get("evaluation", {}).get("beside", [])) + 1
    if runs == 1 and seeds is not None and seeds < 5:
        told.append(
            f"Only {seeds} seed{'s' * (seeds != 1)} a training set: chance is large, small effects stay hidden."
        )
    if 1 < runs < 5:
        told.append(f"Only {runs} draws of the training images: chance is large, small effects stay hidden.")
    for row in verdicts:
        if row["evidence"] != "code" and row["evidence"] in EVIDENCE:
            told.append(f"{row['method']} is tagged “{row['evidence']}”: {EVIDENCE[row['evidence']]}.")
    told.append(
        "The generator was trained once in this run. The intervals hold for classifier seeds and test images; another "
        "training of the generator, or other training photographs, would move the results further (set protocol.draw, "
        "and join the runs with evaluation.beside)."
        if runs == 1
        else f"Accuracy, differences and verdict count {runs} runs, each with training images and a generator of its own; an "
        "audit that failed in one of them is in the verdict. The tables of audits, samples, image metrics, confusion, scores "
        "of species without training images and cost are of this run alone."
    )
    told.append("Results for single species are exploratory: the comparison that was fixed before the run is the mean.")
    told.append("Image metrics never decide a verdict: images can look right and still teach a classifier nothing.")
    if review:
        told.append(
            f"Names of the list without a label, which took no part: {len(review)}; see “Names without a label”."
        )
    return told
