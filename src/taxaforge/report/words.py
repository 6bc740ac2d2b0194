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
    "vendi": "Effective number of different images a species. Below real: the images repeat each other.",
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
    seeds = settings.get("classification", {}).get("seeds")
    if seeds is not None and seeds < 5:
        told.append(
            f"Only {seeds} seed{'s' * (seeds != 1)} a training set: chance is large, small effects stay hidden."
        )
    for row in verdicts:
        if row["evidence"] != "code" and row["evidence"] in EVIDENCE:
            told.append(f"{row['method']} is tagged “{row['evidence']}”: {EVIDENCE[row['evidence']]}.")
    told.append(
        "The generator was trained once in this run. The intervals hold for classifier seeds and test images; another "
        "training of the generator, or other training photographs, would move the results further (set run.seed)."
    )
    told.append("Results for single species are exploratory: the comparison that was fixed before the run is the mean.")
    told.append("Image metrics never decide a verdict: images can look right and still teach a classifier nothing.")
    if review:
        told.append(
            f"Names of the list without a label, which took no part: {len(review)}; see “Names without a label”."
        )
    return told
