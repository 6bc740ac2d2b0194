"""The methods by kind: add a file under `methods/`, its line here and its settings in `config/guidance.py`.

A job's lineage key covers the one module that its method is of (`lineage.fingerprint`), so that an edit of one
redraws no other.
"""

from taxaforge.guidance.methods import cfg, dig_zsl, higfa, mixup, none, sdedit, sgid, taxadiffusion
from taxaforge.guidance.recipe import Method

METHODS: dict[str, Method] = {
    "cfg": cfg,
    "dig_zsl": dig_zsl,
    "higfa": higfa,
    "mixup": mixup,
    "none": none,
    "sdedit": sdedit,
    "sgid": sgid,
    "taxadiffusion": taxadiffusion,
}
