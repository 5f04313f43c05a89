"""The families of tasks: curves, characters, images, tables. Each is one frozen dataclass of options with `build()`.

The functions that build a family at once are in `mtnets.tasks`.
"""

from mtnets.tasks.families.glyphs import Glyphs
from mtnets.tasks.families.image_folder import Folder
from mtnets.tasks.families.miniimagenet import MiniImageNet
from mtnets.tasks.families.omniglot import Omniglot
from mtnets.tasks.families.polynomial import Polynomial
from mtnets.tasks.families.random_tables import RandomTables
from mtnets.tasks.families.sinusoid import Sinusoid
from mtnets.tasks.families.table import Table

__all__ = ["Folder", "Glyphs", "MiniImageNet", "Omniglot", "Polynomial", "RandomTables", "Sinusoid", "Table"]
