"""The table of the budget: how many images a species gets, and why."""

from taxaforge.tables import Column, Schema

ALLOCATION = Schema(
    name="allocation",
    key=("species",),
    columns={
        "species": Column("string", "accepted species, in the class order of the run"),
        "train_images": Column("int64", "training images of the species"),
        "confusion": Column(
            "float64",
            "share of the species' validation images that the guiding classifier takes for another species, 0..1, "
            "(wrong + 1) / (images + 2); empty where no classifier was asked",
            nullable=True,
        ),
        "weight": Column("float64", "share of the budget relative to other species; 0: no images are drawn"),
        "images": Column("int64", "images that every method draws of the species"),
    },
)
