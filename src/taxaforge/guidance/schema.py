"""The tables of this room."""

from taxaforge.tables import Column, Schema

IMAGES = Schema(
    name="images",
    key=("identifier",),
    columns={
        "identifier": Column("string", "<method>-<species>-<index>, unique in the run"),
        "file_name": Column("string", "path of the PNG, relative to the table's folder"),
        "scientificName": Column("string", "accepted species that was asked for"),
        "seed": Column("int64", "seed of the initial noise; the same for every method"),
        "method": Column("string", "name of the method in the run"),
        "kind": Column("string", "the recipe behind the name"),
        "evidence": Column("string", "what its implementation rests on: code, note, standard or reconstruction"),
        "scale": Column("float64", "guidance strength, 1 is none", nullable=True),
        "steps": Column("int64", "denoising steps that were executed"),
        "prompt": Column(
            "string", "text of the condition: level strings, coarse to fine, joined by '; ', or a sentence"
        ),
        "source": Column("string", "training image that it started from or whose contour it follows", nullable=True),
        "strength": Column("float64", "share of the denoising that an image to image method ran, 0..1", nullable=True),
        "other": Column("string", "species that has the rest of the label", nullable=True),
        "share": Column("float64", "of scientificName in the label, 0..1", nullable=True),
        "trace": Column("string", "JSON: strengths that changed from step to step, a list each", nullable=True),
        "filterScore": Column(
            "float64", "probability of the species among those compared, image-text model, 0..1", nullable=True
        ),
        "filterRank": Column("int64", "rank of the species among those compared, 1 is first", nullable=True),
        "classifierScore": Column("float64", "probability of the species, guiding classifier, 0..1", nullable=True),
        "classifierRank": Column("int64", "rank of the species, guiding classifier, 1 is first", nullable=True),
        "nearestTrain": Column("string", "identifier of the most similar training image", nullable=True),
        "nearestSimilarity": Column("float64", "its cosine similarity, image-text model, -1..1", nullable=True),
        "exactCopy": Column("bool", "whether nearestTrain is the same in every pixel"),
        "repeatSimilarity": Column(
            "float64", "cosine similarity to the most similar earlier image of the species, -1..1", nullable=True
        ),
        "contrast": Column("float64", "standard deviation of grey values, 0..127.5"),
        "clipped": Column("float64", "share of colour values at 0 or 255, 0..1"),
        "kept": Column("bool", "whether the image goes into training sets"),
        "reason": Column(
            "string",
            "check that dropped it: min_contrast, max_clipped, near_copy, semantics, classifier or near_repeat; empty if kept",
        ),
        "control": Column("bool", "kept by the random-drop control, which drops as many images of the species"),
    },
)
