"""Data sets as they come: folders, zip archives and pickles, fetched, read and kept in a cache."""

from mtnets.tasks.archives.locations import cache_folder, data_root

__all__ = ["cache_folder", "data_root"]
