"""The documentation as a site: `make docs`. Warnings are errors, and notebooks run while it is built."""

from pathlib import Path

import mtnets

project = "mtnets"
author = "The mtnets authors"
copyright = "The mtnets authors"  # MIT licence
release = version = mtnets.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4  # as on GitHub, where the same pages are read
myst_links_external_new_tab = False
nb_execution_mode = "cache"  # a notebook runs again where its code has changed
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_timeout = 900  # seconds of a cell, for a busy machine
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
default_role = "code"  # docstrings mark code by single backticks

html_theme = "furo"
html_title = "mtnets"
html_static_path: list[str] = []
html_theme_options = {
    "source_repository": "https://github.com/mtnets/mtnets/",
    "source_branch": "main",
    "source_directory": "docs/",
}
