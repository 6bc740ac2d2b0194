"""rule learn_tokens -> taxaforge.guidance.tokens.learn"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.guidance.tokens import learn

    files, params = snakemake.input, snakemake.params
    names = ("model", "texts", "discriminator", "semantics", "classes", "train")
    learn(
        **{name: files[name] for name in names},
        cfg=params.cfg,
        seed=params.cfg["seed"],
        out=snakemake.output.prompts,
        state_dir=run.state_dir,
        micro_batch=run.runtime["micro_batch"],
        log=run.log,
        device=run.device,
        every_s=run.every_s,
    )
