"""python make.py [DIR]: a P-STMO of 27 frames and width 16 with random weights, through the whole of the import
(models/train/lifter/import_reference.py): the same graph, manifest and golden file as of a released checkpoint, in 100 kB."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "models/train/lifter"))

import import_reference as imp  # noqa: E402
import reference_pstmo as ref  # noqa: E402

v = ref.Variant(27, 16, 32, 32, 3, ref.STRIDES[27])
state = ref.plain(ref.random_state(v, seed=5))
# Weights that nobody trained belong to nobody's data.
out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
imp.write(out, "tiny_pstmo", state, v, "coco17", 2, "make.py", "none", "Apache-2.0 OR MIT", "never: random weights of make.py", True)
