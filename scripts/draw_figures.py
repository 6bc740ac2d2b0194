"""rule draw_figures -> taxaforge.report.figures_job.draw"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.report.figures_job import draw

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    draw(
        classes=files.classes,
        **{name: files[name] for name in ("taxa", "metadata", "splits", "train")},
        histories={stage: f"{path}/history.jsonl" for stage, path in zip(params.stages, files.stages, strict=True)},
        kept=dict(zip(params.methods, files.kept, strict=True)),
        images=files.images,
        accuracy=files.accuracy,
        comparisons=files.comparisons,
        verdict=files.verdict,
        cost=files.cost,
        zero_shot=files.get("zero_shot"),
        zero_shot_curve=files.get("curve"),
        predictions=[[w["arm"], w["seed"], path] for w, path in zip(params.arm_seeds, files.predictions, strict=True)],
        cfg=params.cfg,
        out=out.figures,
    )
