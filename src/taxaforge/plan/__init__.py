"""The plan: for every rule its settings, the files of the user that enter at it, and what it stands on.

One function a rule, named like the rule, pure in (settings, wildcards), in the module of its part of the way.
`keys.Plan` turns them into the two params that every rule carries: `cfg`, plain settings that make a dry run's
reasons readable, and `key`, the lineage key. A test compares the edges here with Snakemake's own graph.
"""
