"""rule encode_texts -> taxaforge.diffusion.texts.encode"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.diffusion.texts import encode

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    encode(
        classes=files.classes,
        levels=params.cfg["levels"],
        backbone=params.cfg["backbone"],
        semantics=files.get("semantics"),
        pretrained=params.cfg.get("pretrained"),
        revision=params.cfg.get("revision"),
        out=out.texts,
    )
