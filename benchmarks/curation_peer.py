"""imagededup over one folder, for benchmarks/curation.py; runs under the Python of a virtual environment that has it.

    python benchmarks/curation_peer.py FOLDER {DHash|PHash} WORKERS OUT.json

Writes {"wall_s", "encode_s", "version", "pairs": [[file, file, distance], ...]} for its default threshold.
"""

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    import imagededup
    from imagededup import methods

    folder, method, workers, out = sys.argv[1:]
    hasher = getattr(methods, method)(verbose=False)
    began = time.monotonic()
    encodings = hasher.encode_images(image_dir=folder, num_enc_workers=int(workers))
    encoded = time.monotonic()
    found = hasher.find_duplicates(encoding_map=encodings, scores=True, num_dist_workers=int(workers))
    wall = time.monotonic() - began
    pairs = {(*sorted((name, other)), int(distance)) for name, alike in found.items() for other, distance in alike}
    result = {"wall_s": wall, "encode_s": encoded - began, "version": imagededup.__version__, "pairs": sorted(pairs)}
    Path(out).write_text(json.dumps(result), "utf-8")
