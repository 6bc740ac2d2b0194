"""The little Markdown and YAML that cards are made of."""

import json
from collections.abc import Iterable, Mapping, Sequence


def front_matter(values: Mapping) -> str:
    """A YAML header. Values are JSON, which is YAML too; lists and mappings of mappings take a line an item."""
    return "\n".join(["---", *_yaml(values), "---"])


def _yaml(values: Mapping) -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{name}:")
            for item in value:
                deep = any(isinstance(inner, list) and inner and isinstance(inner[0], dict) for inner in item.values())
                first, *rest = _yaml(item) if deep else [_flow(item)]
                lines += [f"- {first}", *(f"  {line}" for line in rest)]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return lines


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers to the right."""
    cells = [[cell(value) for value in line] for line in lines]
    numbers = [
        all(line[i].strip("%").replace(",", "").replace(".", "").isdigit() for line in cells) and bool(cells)
        for i in range(len(head))
    ]
    rule = ["---:" if number else "---" for number in numbers]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(head), rule, *cells])


def cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _flow(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
