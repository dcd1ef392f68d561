"""How the docs become a site: ``make docs``.

The pages are Markdown that reads on a forge as it stands. What a forge does not know is added when
the site is built, by the files in ``extensions``.
"""

import sys
import warnings
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

# sphinx_autodoc_typehints calls what Sphinx 10 will no longer have, once for each type.
warnings.filterwarnings("ignore", module="sphinx_autodoc_typehints")

project = "rankformer"
author = "the rankformer developers"
project_copyright = author
release = version_of("rankformer")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sections",
    "pages_elsewhere",
    "api_pages",
]
exclude_patterns = ["_build", "extensions", "figures", "**.ipynb_checkpoints"]

# A name of ours that leads nowhere is an error. Those of other packages would need the network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!rankformer\.).*"),
    # Public names are rankformer.NAME, or in a module of functions; deeper ones have no page.
    (r"py:.*", r"rankformer\.(?!(tl|pl|datasets)\.)\w+\..*"),
]

nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autosummary_generate = False
autodoc_member_order = "bysource"
# Backticks in docstrings: a link where it is a public name (extensions/api_pages.py).
default_role = "public"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 70
toc_object_entries_show_parents = "hide"
always_use_bars_union = True

html_theme = "sphinx_book_theme"
html_title = "rankformer"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "logo": {"text": "rankformer"},
    "show_navbar_depth": 1,
    "max_navbar_depth": 2,
    "home_page_in_toc": False,
    "show_toc_level": 2,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "use_download_button": False,
}
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
