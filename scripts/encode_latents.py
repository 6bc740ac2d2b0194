"""rule encode_latents -> taxaforge.diffusion.latents.encode"""

from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.diffusion.latents import encode

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    encode(
        pack=files.pack,
        pretrained=params.cfg["pretrained"],
        revision=params.cfg["revision"],
        size=params.cfg["size"],
        flip=params.cfg["flip"],
        out=out.latents,
        device=run.device,
        every_s=run.every_s,
    )
