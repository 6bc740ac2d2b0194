"""The tables of the audits: leaks between splits, copies of training images, and what follows for each method."""

from taxaforge.tables import Column, Schema

LEAKS = Schema(
    "leaks",
    ("first", "second"),
    {
        "first": Column("string", "a split, or the method whose kept images are compared"),
        "second": Column("string", "the split that it is compared with"),
        "images": Column("int64", "images of `first`"),
        "identical": Column("int64", "images of `first` that are the same in every pixel as one of `second`"),
        "copies": Column("int64", "images of `first` with a copy or a crop in `second`, identical ones included"),
        "ties": Column("int64", "occurrences, events or sets of duplicates in both that split.unit forbids"),
        "likeness": Column("float64", "highest likeness of two images, -1..1", nullable=True),
        "worst_first": Column("string", "the image of `first` in that pair; of test images the place", nullable=True),
        "worst_second": Column("string", "the image of `second` in that pair", nullable=True),
        "likeness_median": Column(
            "float64", "median over images of `first` of the likeness to the most similar of `second`", nullable=True
        ),
        "limit": Column("float64", "likeness above which two images count as copies", nullable=True),
        "found": Column("float64", "share of copies made on purpose that are above the limit", nullable=True),
        "found_kinds": Column(
            "string", "the same of each kind of them, in words; empty: only identical ones were looked for"
        ),
        "outcome": Column("string", "passed, failed or not assessable"),
        "reason": Column("string", "in words"),
    },
)
LEAKED = Schema(
    "leaked pairs",
    ("first", "second", "image_first", "image_second"),
    {
        "first": Column("string", "a split or a method"),
        "second": Column("string", "a split"),
        "image_first": Column("string", "identifier; of test images the place in the pack"),
        "image_second": Column("string", "identifier; of test images the place in the pack"),
        "likeness": Column("float64", "-1..1"),
        "identical": Column("bool", "the same in every pixel"),
    },
)
MEMORISATION = Schema(
    "memorisation",
    ("method", "scope"),
    {
        "method": Column("string", "generation method"),
        "scope": Column("string", '"all" (decides) or a species (exploratory)'),
        "images": Column("int64", "kept images"),
        "assessed": Column("int64", "images of species with enough training and held-out images"),
        "references": Column("int64", "training images"),
        "held_out": Column("int64", "held-out real images: the null"),
        "held_out_copies": Column("int64", "held-out images left out of the null: copies of training images"),
        "likeness": Column("float64", "median likeness to the most similar training image, -1..1", nullable=True),
        "likeness_real": Column("float64", "the same for held-out real images", nullable=True),
        "limit": Column("float64", "likeness above which an image is a replica, median over species", nullable=True),
        "replicas": Column("int64", "images above it"),
        "share": Column("float64", "replicas among the assessed images, 0..1", nullable=True),
        "excess": Column("float64", "share of images with p <= 0.01, minus 0.01", nullable=True),
        "excess_low": Column("float64", "95 % interval over clusters", nullable=True),
        "excess_high": Column("float64", "95 % interval over clusters", nullable=True),
        "found": Column("float64", "share of copies made on purpose that would be replicas, 0..1", nullable=True),
        "authentic": Column(
            "float64", "share farther from their nearest training image than that is from its own", nullable=True
        ),
        "authentic_real": Column("float64", "the same for held-out real images", nullable=True),
        "retained": Column(
            "float64", "median likeness to the training image that it started from, which is no fault", nullable=True
        ),
        "outcome": Column("string", "passed, failed or not assessable"),
        "reason": Column("string", "in words"),
    },
)
COPIES = Schema(
    "copies",
    ("identifier",),
    {
        "identifier": Column("string", "kept synthetic image"),
        "method": Column("string", "generation method"),
        "scientificName": Column("string", "accepted species"),
        "nearest": Column(
            "string",
            "most similar training image of the species, or of all where it has none; not its source",
            nullable=True,
        ),
        "likeness": Column("float64", "-1..1", nullable=True),
        "p": Column("float64", "of a held-out real image being as similar; empty: species not assessed", nullable=True),
        "replica": Column("bool", "as similar as copies are, and more than any held-out image is"),
        "source": Column("string", "training image that it started from", nullable=True),
        "retained": Column("float64", "likeness to that image, -1..1", nullable=True),
    },
)
AUDITS = Schema(
    "audits",
    ("audit", "subject"),
    {
        "audit": Column("string", "leaks, copies or sources"),
        "subject": Column("string", 'a method, or "real images" for the splits among each other'),
        "outcome": Column("string", "passed, failed or not assessable"),
        "reason": Column("string", "in words"),
    },
)
