"""rule score_zero_shot -> taxaforge.evaluation.zero_shot.score_zero_shot"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.zero_shot import score_zero_shot

    files, out, params = snakemake.input, snakemake.output, snakemake.params

    def triples(paths):
        return [[w["arm"], w["seed"], path] for w, path in zip(params.arm_seeds, paths, strict=True)]

    score_zero_shot(
        predictions=triples(files.predictions),
        validation_predictions=triples(files.validation),
        **{name: files[name] for name in ("roles", "train", "classes")},
        cfg=params.cfg,
        out=out.table,
        out_curve=out.curve,
        log=run.log,
    )
