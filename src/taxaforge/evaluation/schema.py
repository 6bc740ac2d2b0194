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
        "value": Column("float64", "shares 0..1, lca_height in ranks, nll in nats"),
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
        "scope": Column("string", '"all" (declared test) or "species:<name>" (exploratory)'),
        "difference_points": Column("float64", "arm - control, macro accuracy in percentage points"),
        "low_points": Column("float64", "1 - alpha interval; -100 where it cannot be estimated"),
        "high_points": Column("float64", "1 - alpha interval; 100 where it cannot be estimated"),
        "equivalence_low_points": Column("float64", "1 - 2 alpha interval, for the test of equivalence"),
        "equivalence_high_points": Column("float64", "1 - 2 alpha interval, for the test of equivalence"),
        "p": Column("float64", "two-sided"),
        "p_holm": Column("float64", "Holm over the methods, scope all", nullable=True),
        "q": Column("float64", "Benjamini-Hochberg over species and methods, species scopes", nullable=True),
        "p_sign": Column("float64", "exact sign flip over seeds; empty above 20 seeds", nullable=True),
        "seeds": Column("int64", "paired seeds"),
        "images": Column("int64", "test images"),
        "groups": Column("int64", "observation groups among them"),
        "df_groups": Column("int64", "groups - classes"),
        "df": Column("float64", "Satterthwaite; 0 where no interval can be estimated"),
        "variance_seeds": Column("float64", "part of the squared standard error that more seeds shrink, points^2"),
        "variance_groups": Column("float64", "part that only more test images shrink, points^2"),
    },
)
IMAGES = Schema(
    "image metrics",
    ("method", "scope", "metric"),
    {
        "method": Column("string", 'generation method, or "real" for held-out real images'),
        "scope": Column("string", '"all" or a species'),
        "metric": Column("string", "see evaluation/images.py"),
        "value": Column("float64", "empty: too few images to assess", nullable=True),
        "low": Column("float64", "95 %", nullable=True),
        "high": Column("float64", "95 %", nullable=True),
        "floor": Column("float64", "the same for real images", nullable=True),
        "floor_low": Column("float64", "95 %", nullable=True),
        "floor_high": Column("float64", "95 %", nullable=True),
        "n": Column("int64", "images behind the value"),
    },
)
VERDICT = Schema(
    "verdict",
    ("method", "scope"),
    {
        "method": Column("string", "generation method"),
        "evidence": Column("string", "where the method comes from"),
        "scope": Column("string", '"all" or "species:<name>" (exploratory)'),
        "verdict": Column("string", "adopt, inconclusive or do not use"),
        "reason": Column("string", "one sentence"),
        "control": Column("string", "the control that decided", nullable=True),
        "difference_points": Column("float64", "against that control", nullable=True),
        "low_points": Column("float64", "1 - alpha interval", nullable=True),
        "high_points": Column("float64", "1 - alpha interval", nullable=True),
        "missing_controls": Column("string", 'core controls that did not run, separated by "; "'),
        "seeds_needed": Column("int64", "for 80 % power at the margin; empty: seeds alone do not do it", nullable=True),
        "recognised": Column("float64", "share of its images whose species the judge names", nullable=True),
        "recognised_real": Column("float64", "the same for held-out real images", nullable=True),
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
    },
)
