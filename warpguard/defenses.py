"""The package ``defenses``, under a name that no folder of a program hides.

>>> from warpguard.defenses import Pipeline
>>> str(Pipeline.parse("fd + rdg"))
'fd+rdg'
"""

from pathlib import Path

import defenses

_OURS = Path(__file__).resolve().parents[1] / "defenses" / "__init__.py"
_FOUND = getattr(defenses, "__file__", None) or str(*defenses.__path__)
if Path(_FOUND).resolve() != _OURS:
    raise ImportError(
        f"warpguard needs its own package 'defenses', but this program has another one first: "
        f"{_FOUND}. Rename that folder, or put it into a package of yours."
    )

from defenses import *  # noqa: E402, F403
from defenses import __all__ as __all__  # noqa: E402
