"""Short names of models and data sets, as runs are tagged with them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OWN_DATA = {"images": "root", "table": "file"}  # key of the folder or file, by source


def name_of(node: Mapping[str, Any]) -> str:
    """Short name of what a config node builds: ``project.models.cnn.CNN`` is ``cnn``."""
    return str(node["_target_"]).rpartition(".")[2].lower()


def data_name(node: Mapping[str, Any]) -> str:
    """Short name of a data set: its source, or the user's own folder or file."""
    source = name_of(node)
    if source not in OWN_DATA:
        return source
    name = Path(node[OWN_DATA[source]]).resolve().stem
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or source
