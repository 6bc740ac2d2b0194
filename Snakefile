"""taxaforge: from a species list to a verdict on synthetic training images.

`snakemake --cores all` runs everything; `snakemake <target>` stops after a phase (rules/targets.smk).
"""

from snakemake.utils import min_version

min_version("9.20")


report: "report/workflow.rst"


configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/targets.smk"
include: "rules/taxonomy.smk"
include: "rules/collection.smk"
include: "rules/publication.smk"
include: "rules/semantics.smk"
include: "rules/diffusion.smk"
include: "rules/aids.smk"
include: "rules/guidance.smk"
include: "rules/classification.smk"
include: "rules/audits.smk"
include: "rules/images.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/tracking.smk"


rule all:
    """Everything a run hands over, durable intermediates included, so that none can go missing unseen."""
    default_target: True
    input:
        rules.taxonomy.input,
        rules.collection.input,
        rules.generator.input,
        rules.images.input,
        rules.classifiers.input,
        rules.scores.input,
        rules.report.input,
        TRACKING,


onerror:
    ship_after_error(CFG)
