"""Names -> accepted species. Takes the user's list, leaves taxa, a review list and the class order of the run."""


rule resolve_taxa:
    """Give every name of the list one accepted species, or a place in the review list.

    taxa         one row a name as written, with status, lineage and reason
    review       the names without a species, with candidates
    classes      the accepted species with their lineages; their order is the class order of the run
    collisions   rows of the list that became the same species
    provenance   every answer that was used: release, time, digest
    ledger       counts; in = sum over statuses
    """
    input:
        unpack(taxonomy_files),
    output:
        taxa="results/taxonomy/taxa.parquet",
        review="results/taxonomy/review.csv",
        classes="results/taxonomy/classes.json",
        collisions="results/taxonomy/collisions.csv",
        provenance="results/taxonomy/provenance.csv",
        ledger="results/taxonomy/ledger.json",
    log:
        "results/logs/resolve_taxa/job.log",
    benchmark:
        "results/benchmarks/resolve_taxa/job.jsonl"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime="48h" if CFG.taxonomy.source == "gbif" else "2h",  # 100,000 names on two checklists: 6 h and more
    params:
        cfg=settings_of("resolve_taxa"),
        key=key_of("resolve_taxa"),
    message:
        "Resolving the species list ({CFG.taxonomy.source})"
    script:
        "../scripts/resolve_taxa.py"
