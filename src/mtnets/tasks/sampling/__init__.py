"""How tasks are drawn: from images by class, rows by group, several distributions, and functions of the user.

Reading order: draws, sizes, episodes, rows, mixture, augmentations, augmented, layout, host_callback, task_form,
user_tasks.
"""

from mtnets.tasks.sampling.episodes import Episodes, episode
from mtnets.tasks.sampling.host_callback import Call, HostRows, fetch, fetch_each, surfacing
from mtnets.tasks.sampling.layout import ChannelsFirst
from mtnets.tasks.sampling.mixture import Mixture
from mtnets.tasks.sampling.rows import Rows
from mtnets.tasks.sampling.user_tasks import from_function, from_sequence

__all__ = [
    "Call",
    "ChannelsFirst",
    "Episodes",
    "HostRows",
    "Mixture",
    "Rows",
    "episode",
    "fetch",
    "fetch_each",
    "from_function",
    "from_sequence",
    "surfacing",
]
