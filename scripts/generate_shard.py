"""rule generate_shard -> taxaforge.guidance.generate.generate"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.generate import generate

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    generate(
        **{name: files[name] for name in ("model", "texts", "classes", "allocation")},
        **{aid: files.get(aid) for aid in ("train", "prompts", "contour", "guide")},
        method=snakemake.wildcards.method,
        cfg=params.cfg,
        seed=params.cfg["seed"],
        shard=int(snakemake.wildcards.shard),
        shards=params.cfg["shards"],
        out=out.images,
        state_dir=run.state_dir,
        micro_batch=run.runtime["micro_batch"],
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
