"""All rules of the workflow."""

from taxaforge.plan import audits, classification, collection, evaluation, guidance, images, report, training
from taxaforge.plan.node import Rule

RULES: dict[str, Rule] = {
    name: rule
    for module in (collection, training, classification, guidance, images, evaluation, audits, report)
    for name, rule in module.RULES.items()
}
