"""rule write_report -> taxaforge.report.page.write"""

from taxaforge import __version__
from taxaforge.adapter import job

with job(snakemake) as run:
    from taxaforge.evaluation.seal import summary
    from taxaforge.report.page import write

    files, out, params = snakemake.input, snakemake.output, snakemake.params
    write(
        **dict(files.items()),
        settings=params.cfg["settings"],
        provenance={
            "commit": run.commit,
            "key": params.key,
            "seed": params.cfg["settings"]["run"]["seed"],
            "version": __version__,
            "sealed test": summary("results/state/test_openings.jsonl"),
        },
        out=out.page,
    )
