"""Sphinx's settings for the site; ``python docs/build.py`` calls it with them.

Nothing here needs a network, neither to build the site nor to read it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import minires
from docs import docstrings

project = "minires"
author = "the authors of minires"
project_copyright = "the authors of minires, MIT licence"
version = release = minires.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_static/mathjax/README.md"]

# --- pages and notebooks ---

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # docs/build.py hands over notebooks that have been executed
nb_merge_streams = True

# --- the reference ---

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

# --- what it looks like ---

html_theme = "furo"
html_title = "minires"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {
    # The menu's other renderers and its speech are files that are not here.
    "options": {"enableMenu": False},
    "svg": {"fontCache": "local"},
}
pygments_style = "tango"
pygments_dark_style = "github-dark"


def setup(app):
    docstrings.setup(app)
