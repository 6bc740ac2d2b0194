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
        "method": Column("string", "guidance method"),
        "evidence": Column("string", "what its implementation rests on: code, note, standard or reconstruction"),
        "scale": Column("float64", "guidance strength, 1 is none", nullable=True),
        "steps": Column("int64", "denoising steps that were executed"),
        "prompt": Column("string", "level strings of the condition, coarse to fine, joined by '; '"),
        "filterScore": Column("float64", "probability of the species among all classes, image-text model, 0..1"),
        "filterRank": Column("int64", "rank of the species among all classes, 1 is first"),
        "contrast": Column("float64", "standard deviation of grey values, 0..127.5"),
        "kept": Column("bool", "whether the image goes into training sets"),
        "reason": Column("string", "setting that dropped it: min_contrast or top_k; empty if kept"),
    },
)
