"""rule rate_prompts -> taxaforge.guidance.rating.rate"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.rating import rate

    files, cfg = snakemake.input, snakemake.params.cfg
    rate(
        train=files.train,
        captions=files.captions,
        semantics=files.semantics,
        texts=files.texts,
        classes=files.classes,
        cfg=cfg,
        backbone=cfg["backbone"],
        pretrained=cfg.get("pretrained", ""),
        revision=cfg.get("revision", "main"),
        out=snakemake.output.prompts,
        log=run.log,
        device=run.device,
    )
