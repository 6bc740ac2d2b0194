"""All rules of the workflow."""

from taxaforge.plan import classification, collection, evaluation, guidance, report, training
from taxaforge.plan.node import Rule

RULES: dict[str, Rule] = {
    name: rule
    for module in (collection, training, classification, guidance, evaluation, report)
    for name, rule in module.RULES.items()
}
