"""Random seeds that belong to the item, not to the batch, the worker or the order."""

import hashlib


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything printable: `seed_of(run_seed, "noise", species, index)`.

    The first 63 bits of the SHA-256 of the parts joined by "|". Equal parts give equal seeds on
    every machine; leave the method out where compared arms must share their noise.
    """
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
