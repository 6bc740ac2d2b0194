"""Helpers that rules share, no rule. Settings are checked here, once, before anything is planned."""

import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from taxaforge.config.settings import dump, load
from taxaforge.driver import announce, ship_after_error
from taxaforge.errors import TaxaforgeError
from taxaforge.plan.classification import arms_and_seeds, classifier_settings, counts_asked, methods_of
from taxaforge.plan.collection import has_unseen, resolve_taxa, source_files
from taxaforge.plan.evaluation import audits_beside, beside, images_beside
from taxaforge.plan.guidance import guided_budget, methods_of_kind, prompts_of, reads_images
from taxaforge.plan.images import feature_weights
from taxaforge.plan.keys import Plan
from taxaforge.plan.node import SPLITS, VIEWS
from taxaforge.plan.training import compresses, stages, training_splits

try:
    CFG = load(config)
    PLAN = Plan(CFG, Path(workflow.basedir))
    PLAN.check_files()
except (ValueError, TaxaforgeError) as error:
    raise WorkflowError(str(error)) from None
config.clear()
config.update(dump(CFG))

METHODS = CFG.guidance.methods
STAGES = stages(CFG)
ARMS = CFG.arms
SEEDS = [str(seed) for seed in range(CFG.classification.seeds)]
ARM_SEEDS = arms_and_seeds(CFG)
SHARDS = [str(shard) for shard in range(CFG.guidance.shards)]

THREADS = CFG.runtime.threads
CLASSIFIER_THREADS = CFG.runtime.classifier_threads
GPUS = CFG.runtime.gpus


wildcard_constraints:
    split="|".join(SPLITS),
    view="|".join(VIEWS),
    stage="|".join(map(re.escape, STAGES)),
    method="|".join(map(re.escape, METHODS)) or "none",
    shard=r"\d+",
    arm="|".join(map(re.escape, ARMS)),
    seed=r"\d+",


def repeats(name):
    """A file of every repeat of an arm, in the order of SEEDS."""
    return collect("results/classifiers/{{arm}}/seed{seed}/{name}", seed=SEEDS, name=name)


settings_of = PLAN.cfg  # `params: cfg`: the rule's own settings
key_of = PLAN.key  # `params: key`: its lineage key

announce(CFG, PLAN.root, workflow.cores)
