"""The tables of this room: columns, units and keys."""

from taxaforge.tables import Column, Schema

PREDICTIONS = Schema(
    "predictions",
    ("identifier",),
    {
        "identifier": Column("string", "test image"),
        "true": Column("string", "accepted species"),
        "predicted": Column("string", "species with the highest probability"),
        "probability": Column("float64", "of the predicted species, 0..1"),
        "probabilities": Column("list<double>", "of every species, in class order, sum 1"),
        "group": Column("string", "observation group"),
    },
)
ACCURACY = Schema(
    "accuracy",
    ("arm", "seed", "scope", "metric"),
    {
        "arm": Column("string", "training set of the classifier"),
        "seed": Column("string", '"0", "1"... or "mean"'),
        "scope": Column("string", '"all", a rank such as "genus", "tier:few" or "species:<name>"'),
        "metric": Column("string", "see evaluation/metrics.py"),
        "value": Column("float64", "shares 0..1, lca_height in ranks, nll in nats, brier 0..2"),
        "low": Column("float64", "1 - alpha interval", nullable=True),
        "high": Column("float64", "1 - alpha interval", nullable=True),
        "n": Column("int64", "test images behind the value"),
    },
)
COMPARISONS = Schema(
    "comparisons",
    ("method", "control", "scope"),
    {
        "method": Column("string", "method whose images were added"),
        "arm": Column("string", "real+<method>"),
        "control": Column("string", "the arm it is held against"),
        "scope": Column("string", '"all", "tier:<name>" (declared tests) or "species:<name>" (exploratory)'),
        "difference_points": Column("float64", "arm - control, macro accuracy in percentage points"),
        "low_points": Column("float64", "1 - alpha interval; -100 where it cannot be estimated"),
        "high_points": Column("float64", "1 - alpha interval; 100 where it cannot be estimated"),
        "equivalence_low_points": Column("float64", "1 - 2 alpha interval, for the test of equivalence"),
        "equivalence_high_points": Column("float64", "1 - 2 alpha interval, for the test of equivalence"),
        "p": Column("float64", "two-sided"),
        "low_bootstrap_points": Column(
            "float64", "the same by crossed bootstrap, a cross-check; empty: one seed, or a species", nullable=True
        ),
        "high_bootstrap_points": Column("float64", "the same by crossed bootstrap", nullable=True),
        "p_holm": Column("float64", "Holm over the methods, and over methods x tiers for tiers", nullable=True),
        "q": Column("float64", "Benjamini-Hochberg over species and methods, species scopes", nullable=True),
        "family": Column("int64", "tests of this control that p_holm or q corrects for"),
        "p_sign": Column("float64", "exact sign flip over seeds; empty above 20 seeds", nullable=True),
        "seeds": Column("int64", "paired seeds"),
        "images": Column("int64", "test images"),
        "groups": Column("int64", "observation groups among them"),
        "df_groups": Column("int64", "groups - classes; classes that share groups (observers, places) count as one"),
        "df": Column("float64", "Satterthwaite; 0 where no interval can be estimated"),
        "variance_seeds": Column("float64", "part of the squared standard error that more seeds shrink, points^2"),
        "variance_groups": Column("float64", "part that only more test images shrink, points^2"),
        "variance_both": Column(
            "float64", "share of either part that more seeds and more images shrink alike, points^2"
        ),
    },
)
IMAGES = Schema(
    "image metrics",
    ("method", "features", "scope", "metric"),
    {
        "method": Column("string", 'generation method, or "real" for held-out real images'),
        "features": Column("string", "model that measures, of evaluation.features"),
        "scope": Column("string", '"all" or a species'),
        "metric": Column("string", "see evaluation/images.py"),
        "value": Column("float64", "empty: too few images to assess", nullable=True),
        "low": Column(
            "float64",
            "shares and likenesses: 95 % interval; distances and diversity: middle 95 % over draws of the real half, which "
            "leaves out the chance in the generated images",
            nullable=True,
        ),
        "high": Column("float64", "as `low`", nullable=True),
        "floor": Column("float64", "the same for real images", nullable=True),
        "floor_low": Column("float64", "as `low`", nullable=True),
        "floor_high": Column("float64", "as `low`", nullable=True),
        "n": Column("int64", "images behind the value"),
        "independent": Column("bool", "whether that model had no part in filtering or guiding the method's images"),
    },
)
VERDICT = Schema(
    "verdict",
    ("method", "scope"),
    {
        "method": Column("string", "generation method"),
        "evidence": Column("string", "where the method comes from"),
        "scope": Column("string", '"all", "tier:<name>" or "species:<name>" (exploratory)'),
        "verdict": Column("string", "adopt, inconclusive or do not use"),
        "reason": Column("string", "one sentence"),
        "control": Column("string", "the control that decided", nullable=True),
        "difference_points": Column("float64", "against that control", nullable=True),
        "low_points": Column("float64", "1 - alpha interval", nullable=True),
        "high_points": Column("float64", "1 - alpha interval", nullable=True),
        "missing_controls": Column("string", 'core controls that did not run, separated by "; "'),
        "missing_beside": Column(
            "string", 'arms of plain generators that did not run, separated by "; "; they decide nothing'
        ),
        "filter": Column(
            "string", "helps, no better than random, not shown, dropped what chance would, or empty: not compared"
        ),
        "obstacle": Column("string", "what kept it from adoption, see evaluation/decision.py; empty: adopted"),
        "seeds_needed": Column(
            "int64",
            "for 80 % power at the margin, against every control that is not beaten (all beaten: against the one that "
            "decided); empty: seeds alone do not do it",
            nullable=True,
        ),
        "recognised": Column("float64", "share of its images whose species the judge names", nullable=True),
        "recognised_real": Column("float64", "the same for held-out real images", nullable=True),
    },
)
SECONDARY = Schema(
    "secondary differences",
    ("method", "control", "metric"),
    {
        "method": Column("string", "method whose images were added"),
        "control": Column("string", "the arm it is held against"),
        "metric": Column("string", "see `by_image` in evaluation/metrics.py; means that weigh species alike"),
        "better": Column("string", "higher or lower"),
        "without": Column("float64", "the control's value"),
        "difference": Column("float64", "arm - control, in the metric's unit"),
        "low": Column("float64", "1 - alpha interval; empty where it cannot be estimated", nullable=True),
        "high": Column("float64", "1 - alpha interval", nullable=True),
        "p": Column("float64", "two-sided, not corrected: exploratory"),
        "seeds": Column("int64", "paired seeds"),
        "images": Column("int64", "test images that the metric looks at"),
    },
)
COST = Schema(
    "cost",
    ("level", "name"),
    {
        "level": Column("string", "job, rule, arm or total"),
        "name": Column("string", "rule/wildcards, rule, arm, or total"),
        "jobs": Column("int64", "jobs with a benchmark"),
        "wall_s": Column("float64", "seconds, added up over jobs"),
        "cpu_s": Column("float64", "seconds; jobs too short to be sampled count 0"),
        "peak_mib": Column("float64", "largest resident memory of one job", nullable=True),
        "device_s": Column("float64", "GPU seconds: wall time x GPUs reserved"),
        "energy_wh": Column(
            "float64",
            "of GPUs, added up over the jobs that held some; empty: no job did, or not all could read it",
            nullable=True,
        ),
    },
)
EFFICIENCY = Schema(
    "efficiency",
    ("method",),
    {
        "method": Column("string", "method whose images were added"),
        "control": Column("string", "the control of real images alone that is hardest to beat", nullable=True),
        "gain_points": Column("float64", "arm - control, macro accuracy", nullable=True),
        "low_points": Column("float64", "1 - alpha interval", nullable=True),
        "high_points": Column("float64", "1 - alpha interval", nullable=True),
        "extra_wall_s": Column("float64", "wall time of all jobs of the arm - of the control", nullable=True),
        "extra_device_s": Column("float64", "the same in GPU seconds", nullable=True),
        "extra_energy_wh": Column("float64", "the same in energy; empty: no job recorded any", nullable=True),
        "drawn": Column("int64", "images that were drawn, dropped ones included"),
        "kept": Column("int64", "images that were used"),
        "wall_s_per_point": Column("float64", "empty: see cost_per_point", nullable=True),
        "wall_s_per_point_low": Column("float64", "1 - alpha interval", nullable=True),
        "wall_s_per_point_high": Column("float64", "1 - alpha interval", nullable=True),
        "device_s_per_point": Column("float64", "GPU seconds", nullable=True),
        "device_s_per_point_low": Column("float64", "1 - alpha interval", nullable=True),
        "device_s_per_point_high": Column("float64", "1 - alpha interval", nullable=True),
        "energy_wh_per_point": Column("float64", "empty: not recorded, or see cost_per_point", nullable=True),
        "images_per_point": Column("float64", "drawn images", nullable=True),
        "trials": Column("int64", "settings that the arm's training tried on validation"),
        "control_trials": Column(
            "int64", "the same of the control; equal, or the comparison is not fair", nullable=True
        ),
        "cost_per_point": Column("string", '"defined", "undefined: ..." or "none: ...", with the reason'),
        "pareto": Column("bool", "whether no other arm is at least as accurate and cheaper in wall time"),
    },
)
POWER = Schema(
    "power",
    ("method", "control", "effect_points"),
    {
        "method": Column("string", "method whose images were added"),
        "control": Column("string", "the arm it is held against"),
        "effect_points": Column("float64", "true difference that is to be found"),
        "alpha": Column("float64", "level of the test after correction for the family's first, hardest step"),
        "seeds": Column("int64", "of this run"),
        "images": Column("int64", "test images of this run"),
        "power": Column("float64", "probability that this run finds the effect", nullable=True),
        "detectable_points": Column("float64", "effect that this run finds with probability 0.8", nullable=True),
        "seeds_needed": Column("int64", "for 0.8 with these test images; empty: not with 200", nullable=True),
        "images_needed": Column("int64", "for 0.8 with these seeds; empty: not with 100 times as many", nullable=True),
        "images_needed_8_seeds": Column("int64", "for 0.8 with 8 seeds", nullable=True),
    },
)
NEXT_RUN = Schema(
    "next run",
    ("method", "option"),
    {
        "method": Column("string", "method whose verdict is inconclusive"),
        "obstacle": Column("string", "what kept it from adoption, see evaluation/decision.py"),
        "option": Column("string", "seeds, test images, seeds and test images, controls, no filter, audit, or none"),
        "change": Column("string", "the change to the configuration; empty: none is known to settle it"),
        "wall_s": Column(
            "float64",
            "seconds of jobs that it would take in all runs that are joined, from this run's; empty: unknown",
            nullable=True,
        ),
        "cheapest": Column("bool", "whether it is the cheapest option of the method"),
        "sentence": Column("string", "the same in words"),
    },
)
